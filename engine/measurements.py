"""What an engine measures of an adapter that it trained: metrics of the training, and probes for replicas.

Standard library only: the gate and the fleet role read these without torch. Only the manifest
(`engine.manifest`) uses `to_json` and `from_json`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self, TypeVar

from engine.recipe import Term

_COUNTS = frozenset(
    {"steps", "steps_skipped", "new", "replay", "anchors", "dev", "refused", "already_known", "tokens"}
)
_OPTIONAL = frozenset(
    {
        "clipped_share",
        "gap_nats",
        "truncated_share",
        "dev_loss_first_nats",
        "dev_loss_last_nats",
        "learned_share",
        "kept_share",
        "learning_rate",
    }
)


class End(StrEnum):
    """Why a lesson's cooldown began."""

    LEARNED = "learned"  # its corrections are the adapter's first choice, and its anchors still are
    STEPS = "steps"  # the recipe allows no more steps
    DEV = "dev"  # the loss on its dev episodes rose


@dataclass(frozen=True, slots=True)
class Absent:
    """The reason why a number was not measured."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMetrics:
    """The numbers of one lesson.

    A number that an operator can set a budget for is never None: `Absent` says why it was not measured.
    """

    steps: int  # optimizer steps taken
    steps_skipped: int  # not taken: their gradient was not finite
    stopped_early: bool  # the loss on the dev episodes rose
    new: int  # episodes by part of the batch
    replay: int
    anchors: int
    dev: int
    refused: int  # groups of events that could not be used
    already_known: int  # events the champion already answers as corrected
    tokens: int  # prompts and answers of all steps
    gradient_norm_max: float  # L2, before clipping
    loss_first_nats: float  # of the first and the last step taken, all terms with their coefficients
    loss_last_nats: float
    signals: Mapping[Term, float]  # loss term -> mean size of its gradient by the log-probabilities, per step
    clipped_share: float | None  # of the policy term's tokens; None: it had none
    gap_nats: float | None  # as in `engine.behaviour`; None in manifests before format 5, like the next one
    truncated_share: float | None
    dev_loss_first_nats: float | None  # mean over the dev episodes; None: too few of them
    dev_loss_last_nats: float | None
    ended: End | None  # None in manifests before format 3, like the next three
    learned_share: (
        float | None
    )  # of its corrections, with every wanted token the likeliest; None: it had none
    kept_share: float | None  # of its anchors' clear first choices: still first; None: it had no anchors
    learning_rate: float | None  # at its highest
    kl_nats: float | Absent  # forward KL from the champion on anchors, mean over tokens

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        kl = {"absent": self.kl_nats.reason} if isinstance(self.kl_nats, Absent) else self.kl_nats
        return {**asdict(self), "kl_nats": kl}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """From JSON values. Raises `ValueError`, which names fields that are missing, unknown or wrong."""
        _refuse_other_fields(cls, values)
        wrong = [name for name, value in values.items() if not _is_metric(name, value)]
        if wrong:
            raise ValueError(f"metrics of another type: {', '.join(sorted(wrong))}")
        kl, signals = values["kl_nats"], values["signals"]
        parsed = {
            "ended": None if values["ended"] is None else End(values["ended"]),
            "signals": {Term(term): size for term, size in signals.items()},
            "kl_nats": Absent(kl["absent"]) if isinstance(kl, dict) else kl,
        }
        return cls(**{**values, **parsed})


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTry:
    """One learning rate at which a lesson was tried."""

    learning_rate: float  # at its highest
    steps: int
    loss_nats: float  # mean over the episodes that choose among the tries
    kept_share: float | None  # as in `TrainingMetrics`
    is_chosen: bool

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """From JSON values. Raises `ValueError` if they are not a try."""
        _refuse_other_fields(cls, values)
        kept = values["kept_share"]
        return cls(
            learning_rate=_row_of([values["learning_rate"]], float)[0],
            steps=_row_of([values["steps"]], int)[0],
            loss_nats=_row_of([values["loss_nats"]], float)[0],
            kept_share=None if kept is None else _row_of([kept], float)[0],
            is_chosen=values["is_chosen"] is True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A prompt, the first tokens of a reply, and the engine's log-probabilities of the likeliest tokens.

    Each row of `likely`, `logprobs` and `base_logprobs` belongs to one token of the reply: the token ids that
    are likely there for the adapter or for the base alone, and the log-probabilities (nats) of both.
    """

    token_ids: tuple[int, ...]  # the prompt and, from `prompt_tokens` on, the reply
    prompt_tokens: int
    likely: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]  # with the adapter
    base_logprobs: tuple[tuple[float, ...], ...]  # without it

    def __post_init__(self) -> None:
        """Raises `ValueError` if the rows do not fit the reply."""
        likely, ours, bare = (
            [len(row) for row in rows] for rows in (self.likely, self.logprobs, self.base_logprobs)
        )
        if not 0 < self.prompt_tokens <= len(self.token_ids) or not likely == ours == bare:
            raise ValueError("a probe needs a prompt, and a number for each likely token")
        if len(likely) != len(self.reply):
            raise ValueError("a probe needs a row for each token of its reply")

    @property
    def reply(self) -> tuple[int, ...]:
        """Token ids of the reply."""
        return self.token_ids[self.prompt_tokens :]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """From JSON values. Raises `ValueError` if they are not a probe."""
        _refuse_other_fields(cls, values)
        return cls(
            token_ids=_row_of(values["token_ids"], int),
            prompt_tokens=_row_of([values["prompt_tokens"]], int)[0],
            likely=tuple(_row_of(row, int) for row in _list_of(values["likely"])),
            logprobs=tuple(_row_of(row, float) for row in _list_of(values["logprobs"])),
            base_logprobs=tuple(_row_of(row, float) for row in _list_of(values["base_logprobs"])),
        )


Number = TypeVar("Number", int, float)


def _row_of(values: Any, kind: type[Number]) -> tuple[Number, ...]:
    """The list's numbers; a float may be written as a whole number."""
    if any(type(value) not in (int, kind) for value in _list_of(values)):
        raise ValueError(f"these must be {kind.__name__} numbers")
    return tuple(kind(value) for value in values)


def _list_of(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise ValueError("a probe needs lists")
    return values


def _refuse_other_fields(noun: type, values: Any) -> None:
    """Raises `ValueError` unless `values` are exactly the fields of the dataclass."""
    name = noun.__name__
    if not isinstance(values, dict):
        raise ValueError(f"{name} is not a JSON object")
    known = {field.name for field in fields(noun)}
    if missing := sorted(known - values.keys()):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"{name} has unknown fields: {', '.join(unknown)}")


def _is_metric(name: str, value: Any) -> bool:
    if name == "signals":
        known = isinstance(value, dict) and value.keys() <= set(Term)
        return known and all(type(size) in (int, float) for size in value.values())
    if name == "ended":
        return value is None or value in set(End)
    if name == "stopped_early":
        return type(value) is bool
    if name in _COUNTS:
        return type(value) is int
    if name == "kl_nats" and isinstance(value, dict):
        return value.keys() == {"absent"} and isinstance(value["absent"], str)
    return type(value) in (int, float) or (value is None and name in _OPTIONAL)
