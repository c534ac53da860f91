"""Every event that passed the wire schema becomes episodes, is barren or is deferred; nothing raises."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from feedback.wire import TYPES, own_fields
from ledger.events import Event, Interaction, KeptEvent, Kind, Role, Status
from rewards.baseline import recent_baselines, turn_baselines
from rewards.batch import choose
from rewards.contradictions import contradictions
from rewards.episode import Part
from rewards.exchange import History
from rewards.labelling import episodes_of_turn, settle_for_planning
from rewards.suite import suite
from rewards.supporters import find_supporters

pytestmark = pytest.mark.slow

texts = st.sampled_from(["stop order 5", "stop order 6", "a", "é字 x", " ", "0"]) | st.text(
    min_size=1, max_size=9
)
contents = (
    st.none()
    | st.text(max_size=9)
    | st.lists(
        st.dictionaries(st.sampled_from(["type", "text"]), st.none() | st.integers() | st.text(max_size=3)),
        max_size=2,
    )
)
roles = st.sampled_from(["system", "user", "assistant", "tool"])
messages = st.lists(
    st.fixed_dictionaries({"role": roles}, optional={"content": contents, "name": st.text(max_size=2)}),
    min_size=1,
    max_size=4,
)
names = st.sampled_from(["k1", "k2"])
common: dict[str, Any] = {
    "interaction": st.sampled_from(["i1", "i2", "i3", "lost"]),
    "conversation": st.sampled_from(["talk", "walk"]),
    "turn": st.integers(0, 4),
    "key": names,
    "amends": names,
    "revision": st.integers(1, 3),
    "messages": messages,
    "rejected": texts,
    "said": texts,
    "comment": st.text(max_size=3),
    "reason": st.sampled_from(["policy change", "it was wrong", ""]),
    "turns": messages,
    "scope": st.sampled_from(["final", "all"]),
    "value": st.floats(-1.0, 1.0),
}
WIRE = {"correction": "correction", "outcome": "outcome", "retraction": "retraction"}


@st.composite
def events(draw: st.DrawFn, seq: int) -> KeptEvent:
    """An event as intake stores it: its data went through the wire model."""
    kind = draw(st.sampled_from(list(Kind)))
    given_data = draw(st.fixed_dictionaries({}, optional=common)) | {
        "agent": "support",
        "author": draw(st.sampled_from(["ann", "bob", "cy"])),
        "corrected": draw(texts),
        "action": kind.value,
        "target": {"source": "t", "id": "e1"},
    }
    # Fields that the schema demands and the random data lacks.
    given_data.setdefault("value", 0.5)
    given_data.setdefault("turns", [{"role": "assistant", "content": "so"}])
    if not any(turn["role"] == "assistant" for turn in given_data["turns"]):
        given_data["turns"].append({"role": "assistant"})
    model = TYPES[f"clorad.{WIRE.get(kind.value, 'intervention')}.v1"]
    try:
        data = model.model_validate(given_data)
    except ValidationError:  # it is about nothing
        data = model.model_validate(given_data | {"interaction": "lost"})
    return KeptEvent(
        seq=seq,
        event=Event(
            source="t",
            id=f"e{seq}",
            digest="",
            kind=kind,
            agent=data.agent,
            author=data.author,
            conversation=data.conversation,
            interaction=data.interaction,
            turn=data.turn,
            key=data.key,
            amends=data.amends,
            revision=data.revision,
            role=draw(st.sampled_from([None, Role.TRAIN, Role.TRAIN, Role.TRAIN, Role.DEV, Role.GATE])),
            prompt_group=draw(st.sampled_from([None, "p", "q", "r"])),
            data=own_fields(data),
            occurred_s=draw(st.none() | st.floats(0, 9)),
        ),
        status=Status.OPEN,
        received_s=float(seq),
    )


@st.composite
def captures(draw: st.DrawFn, name: str) -> Interaction:
    count = draw(st.integers(0, 3))
    tokens = draw(st.none() | st.just(tuple(range(count))))
    return Interaction(
        id=name,
        agent=draw(st.sampled_from(["support", "support", "sql"])),
        version="v0",
        conversation=draw(st.sampled_from([None, "talk"])),
        turn=draw(st.none() | st.integers(0, 4)),
        messages=tuple(draw(messages)),
        completion=draw(st.text(max_size=5)),
        token_ids=tokens,
        logprobs=draw(st.none() | st.just(tuple(-0.5 for _ in range(count)))),
        sampling={},
        finish_reason=None,
        prompt_group="p",
        role=draw(st.sampled_from([Role.TRAIN, Role.GATE])),
    )


@st.composite
def histories_of_an_agent(draw: st.DrawFn) -> tuple[list[KeptEvent], dict[str, Interaction]]:
    count = draw(st.integers(1, 7))
    kept = [draw(events(seq)) for seq in range(1, count + 1)]
    return kept, {name: draw(captures(name)) for name in ("i1", "i2", "i3")}


@settings(max_examples=300, deadline=None)
@given(histories_of_an_agent(), st.sampled_from(list(Part)), st.floats(-1.0, 1.0), st.booleans())
def test_every_event_becomes_equal_episodes_of_its_parts_role_or_has_a_reason(
    world: tuple[list[KeptEvent], dict[str, Interaction]], part: Part, baseline: float, of_turn: bool
) -> None:
    kept, interactions = world
    history = History(interactions=interactions, conversations={"talk": list(interactions.values())})
    baselines = replace(recent_baselines(kept, last=3), usual=baseline)
    baselines = turn_baselines(kept, baselines) if of_turn else baselines
    settled = settle_for_planning(kept, history=history, baselines=baselines)
    assert not settled.barren.keys() & settled.deferred.keys()
    assert all((*settled.barren.values(), *settled.deferred.values())), "each with a reason"
    teaching = [
        kept_event
        for kept_event in kept
        if kept_event.seq not in settled.barren.keys() | settled.deferred.keys()
    ]
    episodes = episodes_of_turn(teaching, part=Part.NEW, history=history, baselines=baselines, around=kept)
    assert {episode.events[0] for episode in episodes} == {kept_event.event.uid for kept_event in teaching}
    assert settle_for_planning(kept[::-1], history=history, baselines=baselines) == settled
    episodes = episodes_of_turn(kept, part=part, history=history, baselines=baselines)
    roles = {kept_event.event.uid: kept_event.event.role for kept_event in kept}
    wanted = Role.DEV if part is Part.DEV else Role.TRAIN
    assert all(roles[uid] is wanted for episode in episodes for uid in episode.events)
    assert episodes_of_turn(kept[::-1], part=part, history=history, baselines=baselines) == episodes


@settings(max_examples=150, deadline=None)
@given(histories_of_an_agent(), st.integers(0, 5), st.integers(0, 2**48))
def test_choosing_a_turn_and_a_suite_never_raises(
    world: tuple[list[KeptEvent], dict[str, Interaction]], count: int, seed: int
) -> None:
    kept, interactions = world
    history = History(interactions=interactions, conversations={})
    approvals = [kept_event for kept_event in kept if kept_event.event.kind is Kind.APPROVE]
    supporters = find_supporters(kept, history=history, authors_min=seed % 3 + 1, approvals=approvals)
    choice = choose(
        new=kept[::2],
        taught=kept[1::2],
        approvals=approvals,
        gate=kept,
        dev=kept,
        interactions=interactions,
        supporters=supporters,
        seed=seed,
        replay_max=count,
        anchors_max=count,
    )
    assert len(choice.parts[Part.REPLAY]) <= count
    assert len(choice.parts[Part.ANCHOR]) <= count
    contradictions(kept, interactions=interactions, window_s=3.0, supporters=supporters)
    gate = [kept_event for kept_event in kept if kept_event.event.role is Role.GATE]
    questions = suite(
        approvals=gate,
        taught_gate=gate,
        new=kept[::3],
        corrections=kept,
        interactions=interactions,
        supporters=supporters,
        seed=seed,
        questions_max=count,
    )
    assert len(questions) <= count
