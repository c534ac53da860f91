"""A scorer of the user's own behind HTTP: it gets messages, wanted answer and answers, and returns numbers.

POST {"messages": [...], "wanted": "...", "answers": ["...", "..."]}  ->  200 {"scores": [0.0, 1.0]}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.scoring.own import NoScore, Scored, Wanted, checked
from serving.scoring.remote import ScoringClient


class HttpVerifier:
    """The client of one verifier. Threads may share it."""

    is_relative = False

    def __init__(self, url: str, *, headers: Mapping[str, str], wait_s_max: float) -> None:
        self._client = ScoringClient(url, headers=headers, wait_s_max=wait_s_max)

    def score(
        self, messages: Sequence[Mapping[str, Any]], wanted: Wanted, answers: Sequence[Wanted]
    ) -> Scored:
        """The verifier's numbers. Raises `NoScore`."""
        body = {"messages": list(messages), "wanted": wanted, "answers": list(answers)}
        return self._scored(body, len(answers))

    def _scored(self, body: Mapping[str, Any], count: int) -> Scored:
        reply = self._client.post(body)
        if not isinstance(reply, dict):
            raise NoScore("it answered no JSON object")
        return Scored(values=checked(reply.get("scores"), count))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


class ConversationVerifier(HttpVerifier):
    """A verifier that is sent whole conversations: how each went on from the judged answer to its end.

    POST {..., "conversations": [[...], [...]], "ended": ["complete", "other calls than recorded"]}
    """

    def score_conversations(
        self,
        messages: Sequence[Mapping[str, Any]],
        wanted: Wanted,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        ended: Sequence[str],
    ) -> Scored:
        """The verifier's numbers, one for each conversation. Raises `NoScore`."""
        body = {"messages": list(messages), "wanted": wanted, "conversations": list(conversations)}
        return self._scored({**body, "ended": list(ended)}, len(conversations))
