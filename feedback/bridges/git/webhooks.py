"""Verifies and reads webhooks of GitHub and GitLab: which branch of which repository has new commits.

https://docs.github.com/en/webhooks/webhook-events-and-payloads (`pull_request`, `push`) and
https://docs.gitlab.com/user/project/integrations/webhook_events/ (`Merge Request Hook`, `Push Hook`). A merge
also tells which commit of the branch has the lines of which tip: a squash need not say so itself.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feedback.bridges.webhook_secrets import WebhookRefused

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH = "refs/heads/"
_NAME_CHARS_MAX = 300
_PUSHED = (("ref",), ("repository", "project"))
_FIELDS: Mapping[str, Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "x-github-event": {"push": _PUSHED, "pull_request": (("pull_request",), ("action",))},
    "x-gitlab-event": {
        "Push Hook": _PUSHED,
        "Merge Request Hook": (("object_attributes",), ("object_kind",)),
    },
}
"""By header and event: for each thing that is read, the fields of which the payload must have one."""


class PayloadRefused(ValueError):
    """The payload is not of a form that is known. The text names the field and quotes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchUpdate:
    """A branch has new commits."""

    repository: str  # as the host names it: team/shop
    branch: str
    merges: Mapping[str, str] = field(default_factory=dict)  # the branch's commit by the tip that was merged


def check_github(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    """The signature in `x-hub-signature-256` is of the body, by the secret. Raises `WebhookRefused`."""
    signature = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
    if not hmac.compare_digest(headers.get("x-hub-signature-256", "").encode(), signature.encode()):
        raise WebhookRefused("x-hub-signature-256: not of this body, or by another secret")


def check_gitlab(headers: Mapping[str, str], _body: bytes, secret: str) -> None:
    """The secret stands in `x-gitlab-token`. Raises `WebhookRefused`."""
    if not hmac.compare_digest(headers.get("x-gitlab-token", "").encode(), secret.encode()):
        raise WebhookRefused("x-gitlab-token: not the secret of this bridge")


def check_form(headers: Mapping[str, str], payload: Mapping[str, Any]) -> None:
    """The payload has the fields of the event that its header names, where it is one that is read.

    Other events are ignored, not refused: GitLab disables a webhook that was refused several times. Raises
    `PayloadRefused`: the host may have another version of the payload.
    """
    for header, events in _FIELDS.items():
        for fields in events.get(headers.get(header, ""), ()):
            if not any(name in payload for name in fields):
                raise PayloadRefused(f"{fields[0]}: missing; is this another version of the payload?")


def branch_update(payload: Mapping[str, Any]) -> BranchUpdate | None:
    """What a webhook tells; None for what tells of no new commits on a branch. Raises `PayloadRefused`."""
    if "pull_request" in payload:
        return _merged_on_github(payload)
    if payload.get("object_kind") == "merge_request":
        return _merged_on_gitlab(payload)
    if "ref" in payload and ("repository" in payload or "project" in payload):
        return _pushed(payload)
    return None


def _merged_on_github(payload: Mapping[str, Any]) -> BranchUpdate | None:
    request = _object(payload, "pull_request")
    if payload.get("action") != "closed" or request.get("merged") is not True:
        return None
    return BranchUpdate(
        repository=_text(_object(payload, "repository"), "full_name"),
        branch=_text(_object(request, "base"), "ref"),
        merges={_commit(_object(request, "head"), "sha"): _commit(request, "merge_commit_sha")},
    )


def _merged_on_gitlab(payload: Mapping[str, Any]) -> BranchUpdate | None:
    request = _object(payload, "object_attributes")
    if request.get("action") != "merge":
        return None
    # After a squash and a fast-forward there is no merge commit.
    merged = next((name for name in ("merge_commit_sha", "squash_commit_sha") if request.get(name)), None)
    tip = _commit(_object(request, "last_commit"), "id")
    return BranchUpdate(
        repository=_text(_object(payload, "project"), "path_with_namespace"),
        branch=_text(request, "target_branch"),
        merges={} if merged is None else {tip: _commit(request, merged)},
    )


def _pushed(payload: Mapping[str, Any]) -> BranchUpdate | None:
    reference = _text(payload, "ref")
    is_removed = not str(payload.get("after") or "").strip("0")
    if not reference.startswith(_BRANCH) or is_removed:
        return None
    name = (
        _text(_object(payload, "project"), "path_with_namespace")
        if "project" in payload
        else _text(_object(payload, "repository"), "full_name")
    )
    return BranchUpdate(repository=name, branch=reference.removeprefix(_BRANCH))


def _object(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    if not isinstance(value, Mapping):
        raise PayloadRefused(f"{name}: not an object")
    return value


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _NAME_CHARS_MAX:
        raise PayloadRefused(f"{name}: not a name")
    return value


def _commit(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise PayloadRefused(f"{name}: not a commit's id")
    return value
