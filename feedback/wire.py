"""Defines and checks the `data` of each CloudEvent type on the feedback and interactions topics.

The only tolerant place: unknown fields are dropped, so producers may send them before clorad reads them.
"""

from typing import Annotated, Any, Literal, Required, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import TypedDict  # pydantic needs it below Python 3.12

from feedback import token_ids
from feedback.reply_form import AssistantMessage, Reply, check_results, check_wanted, without_nulls
from feedback.token_ids import IdsLeftOut

IDENTIFIER_CHARS_MAX = 200
SOURCE_CHARS_MAX = 400
TOOLS_MAX = 128
"""Tools of one request: as many as OpenAI's API takes."""

_INTEGER_MAX = 2**31 - 1
_NAMES_MAX = 64

_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Identifier = Annotated[str, StringConstraints(max_length=IDENTIFIER_CHARS_MAX, pattern=_PRINTABLE)]
_SEEN = r"^[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\s][^\x00-\x1f\x7f]*$"
Author = Annotated[str, StringConstraints(max_length=IDENTIFIER_CHARS_MAX, pattern=_SEEN)]
"""An identifier that is not white space alone."""
Source = Annotated[str, StringConstraints(max_length=SOURCE_CHARS_MAX, pattern=_PRINTABLE)]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,32}$")]
VersionName = Annotated[str, StringConstraints(max_length=40, pattern=_PRINTABLE)]


def _whole(number: Any) -> Any:
    """3.0 is the integer 3 in JSON Schema, and so some languages write it."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Whole = Annotated[int, BeforeValidator(_whole)]


class ChatMessage(TypedDict, total=False):
    """One OpenAI chat message; other fields (tool calls, names) are kept."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    role: Required[Literal["system", "developer", "user", "assistant", "tool", "function"]]
    content: str | list[dict[str, Any]] | None


Messages = Annotated[list[ChatMessage], Field(min_length=1)]


class _Data(BaseModel):
    """The fields of every type."""

    model_config = ConfigDict(
        extra="ignore", strict=True, frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    _null_is_unset = model_validator(mode="before")(without_nulls)

    agent: Identifier
    """The agent's declared name."""
    author: Author
    """The person who gives the feedback, or a system in that person's name."""
    interaction: Identifier | None = None
    """`x-clorad-interaction` of the gateway's answer that the feedback is about."""
    conversation: Identifier | None = None
    """`x-clorad-conversation` of the requests. An outcome, an approval, a rejection or an abort may name it
    alone; other feedback about what was captured of it names the `turn` as well."""
    turn: Annotated[Whole, Field(ge=0, le=_INTEGER_MAX)] | None = None
    """The number of the agent's turn in the conversation, from 0."""
    key: Identifier | None = None
    """Name of this feedback among those of its source and author, so that later events can amend it."""
    amends: Identifier | None = None
    """`key` of an event that this one amends. It replaces an event of the same kind whose `revision` is not
    higher, and adds an outcome to an event of another kind. Where one author replaces an event several times
    at the same `revision`, the event that occurred last (CloudEvents `time`) counts."""
    revision: Annotated[Whole, Field(ge=1, le=_INTEGER_MAX)] = 1
    """Of several events of one kind under one key the highest revision counts, in any order of arrival.
    A lower revision does not come back, not even when the higher one is retracted."""


COMMON = frozenset(_Data.model_fields)


class _Feedback(_Data):
    """What feedback about a reply may say itself about the request."""

    messages: Messages | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=TOOLS_MAX)] | None = None
    """The tools that the request offered, as OpenAI's API takes them."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Arguments of the chat template, as the request gave them."""

    @model_validator(mode="after")
    def _calls_belong_together(self) -> Self:
        """Checks of what older producers do not send: what they sent is read as ever."""
        replies = [getattr(self, name, None) for name in ("rejected", "said", "corrected")]
        if self.tools is not None or any(isinstance(reply, AssistantMessage) for reply in replies):
            check_wanted(replies[-1], self.tools)
            check_results([*(self.messages or ()), *(getattr(self, "turns", None) or ())])
        return self

    @property
    def _captured(self) -> bool:
        """Whether it names one captured answer."""
        return self.interaction is not None or (self.conversation is not None and self.turn is not None)


class Correction(_Feedback):
    """A developer rewrote the agent's reply, or wrote the reply that it should give."""

    rejected: Reply | None = None
    """None where nobody knows what the agent said."""
    corrected: Reply
    comment: str | None = None

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        _require(self._captured or self.messages, "messages, or interaction, or conversation and turn")
        return self


class Intervention(_Feedback):
    """An operator stepped in, or approved the reply."""

    action: Literal["takeover", "override", "abort", "approve", "reject"]
    reason: str | None = None
    said: Reply | None = None
    corrected: Reply | None = None
    """The operator's reply instead (override)."""
    turns: Messages | None = None
    """The turns from the takeover to the hand-back: of the operator (role assistant), tools and the user."""

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        if self.action == "takeover":
            _require(self._captured or self.messages, "messages, or interaction, or conversation and turn")
            spoken = self.turns and any(message["role"] == "assistant" for message in self.turns)
            _require(spoken, "turns with at least one of the operator's (role assistant)")
        elif self.action == "override":
            _require(
                self._captured or (self.messages and self.said),
                "messages and said, or interaction, or conversation and turn",
            )
            _require(self.corrected, "corrected")
        else:
            _require(
                self.interaction or self.conversation or (self.messages and self.said),
                "messages and said, or interaction, or conversation",
            )
        return self


class Outcome(_Feedback):
    """How something ended, as a number."""

    value: Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]
    scope: Literal["final", "all"] | None = None
    """Whether the value is for the last agent turn or for all of them. Not given: for all of them where the
    outcome names a conversation and no turn of it, else for the last."""
    task: Identifier | None = None
    """The task that the agent tried. Outcomes of one task are compared with each other, those without a task
    with outcomes of the same prompt. An outcome that names nothing else is about the conversation of that
    name."""
    said: Reply | None = None
    comment: str | None = None

    @model_validator(mode="after")
    def _is_about_something(self) -> Self:
        _require(
            self.interaction
            or self.amends
            or self.conversation
            or self.task
            or (self.messages and self.said),
            "messages and said, or interaction, or conversation, or task, or amends",
        )
        return self


class Target(BaseModel):
    """An event by its CloudEvents `source` and `id`."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    source: Source
    id: Identifier


class Retraction(_Data):
    """An earlier event must not be learned from. It may arrive before its target."""

    target: Target


class InteractionData(_Data):
    """What an agent was asked and replied, and its version. The event's `id` is the interaction's name."""

    author: Identifier = "gateway"
    version: Annotated[str, StringConstraints(max_length=40, pattern=_PRINTABLE)]
    messages: Messages
    completion: str
    token_ids: list[Annotated[int, Field(ge=0)]] | None = None
    logprobs: list[Annotated[float, Field(allow_inf_nan=False)]] | None = None
    sampling: dict[str, Any] = Field(default_factory=dict)
    finish_reason: Annotated[str, StringConstraints(max_length=40)] | None = None
    reply: AssistantMessage | None = None
    """The assistant message, where it is more than the text of `completion`: with tool calls or reasoning."""
    tools: Annotated[list[dict[str, Any]], Field(max_length=TOOLS_MAX)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    rendering: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the request from which the chat template made the prompt."""
    restrictions: Annotated[list[Identifier], Field(max_length=_NAMES_MAX)] = Field(default_factory=list)
    """Fields of the request because of which other tokens could not be sampled: a grammar, a cut, a bias.
    The log-probabilities are of what was left."""
    prompt_token_ids: str | None = None
    """The prompt as the model read it: 32-bit numbers, low byte first, compressed (RFC 1950), in base64."""
    ids_left_out: Annotated[IdsLeftOut, Field(strict=False)] | None = None
    """Why there are no `prompt_token_ids`."""

    @model_validator(mode="after")
    def _has_one_logprob_a_token(self) -> Self:
        tokens, logprobs = self.token_ids or (), self.logprobs or ()
        _require(not logprobs or len(tokens) == len(logprobs), "as many logprobs as token_ids")
        return self

    @property
    def packed_prompt(self) -> bytes | None:
        """`prompt_token_ids` as bytes (`feedback.token_ids`)."""
        return None if self.prompt_token_ids is None else token_ids.from_text(self.prompt_token_ids)

    @model_validator(mode="after")
    def _has_a_readable_prompt(self) -> Self:
        if (packed := self.packed_prompt) is not None:
            token_ids.check(packed)
        return self


class VersionCountsData(BaseModel):
    """What one version did since the record before."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    conversations: Annotated[int, Field(ge=0, le=_INTEGER_MAX)]
    signals: dict[Literal["error", "invalid_tool_call", "length", "refusal"], list[Fingerprint]] = Field(
        default_factory=dict
    )


class LiveData(_Data):
    """What a gateway counted of the versions that answered one agent's users, once a second."""

    author: Identifier = "gateway"
    producer: Annotated[str, StringConstraints(max_length=64, pattern=_PRINTABLE)]
    """One process of a gateway."""
    sequence: Annotated[int, Field(ge=1)]
    """Of its records about this agent."""
    canary: Annotated[str, StringConstraints(max_length=40)] = ""
    share: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.0
    versions: Annotated[dict[VersionName, VersionCountsData], Field(max_length=64)]


IDS = ("token_ids", "logprobs", "prompt_token_ids")
"""Fields of an interaction that hold numbers, which spell its texts: redaction of those removes them."""

REQUEST_FIELDS = ("tools", "tool_choice", "chat_template_kwargs", "response_format")
"""Fields of an OpenAI request that an interaction keeps under their own names."""

Data = Correction | Intervention | Outcome | Retraction | InteractionData | LiveData

TYPES: dict[str, type[Data]] = {
    "clorad.correction.v1": Correction,
    "clorad.intervention.v1": Intervention,
    "clorad.outcome.v1": Outcome,
    "clorad.retraction.v1": Retraction,
    "clorad.interaction.v1": InteractionData,
    "clorad.live.v1": LiveData,
}
GATEWAY_TYPES = frozenset({"clorad.interaction.v1", "clorad.live.v1"})
"""What only gateways say."""


def own_fields(data: Data) -> dict[str, Any]:
    """The fields that only this type has, as JSON values, without absent ones."""
    fields = data.model_dump(exclude=set(COMMON))
    return {name: value for name, value in fields.items() if value is not None}


def _require(value: object, name: str) -> None:
    if not value:
        raise ValueError(f"needs {name}")
