"""Writes notices as the bodies of webhooks, in the form that their receiver wants, and signs them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from feedback.bridges.webhook_secrets import signature_of
from ledger.notices.kinds import TEST

Form = Literal["standard", "text"]

TYPE = "clorad.person.needed"
TEST_TYPE = "clorad.test"
_TEXT_CHARS_MAX = 12_000  # chats refuse messages that are much longer


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookMessage:
    """What is posted: the same bytes under the same id at every try."""

    id: str
    body: bytes

    def headers(self, secret: bytes, *, now_s: float) -> dict[str, str]:
        """The headers of one try (Standard Webhooks 1.0): the time is that of the try."""
        sent = str(int(now_s))
        signature = signature_of(secret, self.id, sent, self.body).decode()
        return {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": sent,
            "webhook-signature": f"v1,{signature}",
        }


def written(id: str, notices: Sequence[Mapping[str, Any]], *, form: Form, noted_s: float) -> WebhookMessage:
    """The message with these notices."""
    if form == "text":
        text = "\n\n".join(_text(notice) for notice in notices)
        body: dict[str, Any] = {"text": text[:_TEXT_CHARS_MAX]}
    else:
        body = {
            "type": TEST_TYPE if any(notice["kind"] == TEST for notice in notices) else TYPE,
            "timestamp": datetime.fromtimestamp(noted_s, UTC).isoformat(timespec="seconds"),
            "data": {"notices": list(notices)},
        }
    return WebhookMessage(id=id, body=json.dumps(body, ensure_ascii=False).encode())


def trial(id: str, *, form: Form, now_s: float) -> WebhookMessage:
    """A message that only shows that messages arrive."""
    notice = {
        "kind": TEST,
        "fact": f"{TEST} {id}",
        "agent": None,
        "what": "clorad can reach you here",
        "why": "somebody ran a test of the notices; nothing needs to be done",
        "command": "clorad doctor --test-notice",
        "link": None,
        "since": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds"),
    }
    return written(id, [notice], form=form, noted_s=now_s)


def _text(notice: Mapping[str, Any]) -> str:
    lines = [notice["what"], notice["why"], notice["command"], notice["link"]]
    return "\n".join(_escaped(line) for line in lines if line)


def _escaped(line: str) -> str:
    """A line that a chat shows as it is: no mention of everybody, no link under another text.

    Source: https://api.slack.com/reference/surfaces/formatting#escaping
    """
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
