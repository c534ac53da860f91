"""One request to an agent, decoded and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.gateway.edge.answer_bytes import Hold
from serving.gateway.edge.request_fields import printable_names
from serving.gateway.forms.answer_form import AnswerForm
from serving.gateway.openai_form import RequestedExtras


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """What the gateway knows of a request before it asks a replica."""

    form: AnswerForm
    agent: str
    body: Mapping[str, Any]  # the fields that are passed on
    dropped: Sequence[str]  # names of the fields that are not passed on
    body_bytes: int
    interaction: str
    conversation: str | None
    turn: int | None
    extras: RequestedExtras
    chat: Mapping[str, Any] | None  # what is captured of it, as a chat request; None: nothing is
    began_s: float  # on the monotonic clock
    hold: Hold  # of its answer
    experiments: bool  # versions that nobody judged may answer it

    @property
    def capture(self) -> bool:
        """Whether this interaction is captured."""
        return self.chat is not None

    @property
    def routed_by(self) -> str:
        """The conversation that decides on the version; each request without one is its own."""
        return self.conversation or self.interaction

    def headers(self, version: str | None = None) -> dict[str, str]:
        """For every answer, errors included; `version` is known once a replica has answered."""
        headers = {"x-clorad-agent": self.agent, "x-clorad-interaction": self.interaction}
        if self.dropped:
            headers["x-clorad-dropped"] = printable_names(self.dropped)
        return headers if version is None else {**headers, "x-clorad-version": version}
