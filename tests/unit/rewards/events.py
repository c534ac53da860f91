"""Builds events and interactions for the tests of this folder."""

from collections.abc import Mapping, Sequence
from typing import Any

from ledger.events import Event, Interaction, KeptEvent, Kind, Role, Status
from rewards.supporters import Supporters

ONE_IS_ENOUGH = Supporters(people={}, authors_min=1)
"""Everybody counts alone: what these tests are about does not depend on people."""

Messages = tuple[Mapping[str, Any], ...]


def build_prompt(text: str) -> Messages:
    return ({"role": "system", "content": "You help."}, {"role": "user", "content": text})


def build_kept_event(seq: int, kind: Kind, data: Mapping[str, Any], **more: Any) -> KeptEvent:
    """Event `t#e<seq>` of role train by ann, received at second `seq`."""
    event = {"role": Role.TRAIN, "author": "ann", "agent": "support", "prompt_group": f"group {seq}"} | more
    return KeptEvent(
        seq=seq,
        event=Event(source="t", id=f"e{seq}", digest="", kind=kind, data=data, **event),
        status=Status.OPEN,
        received_s=float(seq),
    )


def build_correction(seq: int, prompt: str, rejected: str, corrected: str, **more: Any) -> KeptEvent:
    data = {"messages": list(build_prompt(prompt)), "rejected": rejected, "corrected": corrected}
    return build_kept_event(seq, Kind.CORRECTION, data, **more)


def build_approval(seq: int, prompt: str, reply: str, **more: Any) -> KeptEvent:
    return build_kept_event(
        seq,
        Kind.APPROVE,
        {"action": "approve", "messages": list(build_prompt(prompt)), "said": reply},
        **more,
    )


def build_intervention(
    seq: int, action: str, data: Mapping[str, Any] | None = None, **more: Any
) -> KeptEvent:
    return build_kept_event(seq, Kind(action), {"action": action, **(data or {})}, **more)


def build_outcome(seq: int, value: float, *, scope: str = "final", **more: Any) -> KeptEvent:
    return build_kept_event(seq, Kind.OUTCOME, {"value": value, "scope": scope}, **more)


def build_interaction(
    name: str, prompt: str, reply: str, *, logprob: float | None = -0.5, **more: Any
) -> Interaction:
    """An interaction of three sampled tokens."""
    fields: dict[str, Any] = {
        "agent": "support",
        "version": "v0",
        "conversation": None,
        "turn": None,
        "messages": build_prompt(prompt),
        "token_ids": None if logprob is None else (1, 2, 3),
        "logprobs": None if logprob is None else (logprob,) * 3,
        "sampling": {},
        "finish_reason": "stop",
        "prompt_group": name,
        "role": Role.TRAIN,
    }
    return Interaction(id=name, completion=reply, **(fields | more))


def build_conversation(name: str, turns: int) -> Sequence[Interaction]:
    """Requests of one turn each with one conversation id, as agents without memory send them."""
    return [
        build_interaction(f"{name}/{turn}", f"ask {turn}", f"say {turn}", conversation=name, turn=turn)
        for turn in range(turns)
    ]
