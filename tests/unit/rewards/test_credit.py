"""The credit table, row by row."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ledger.events import Interaction, KeptEvent, Kind, Role, Status
from rewards.baseline import NO_BASELINES, Baselines
from rewards.episode import Episode, Part, SampledTokens
from rewards.exchange import History
from rewards.labelling import Settled, episodes_of_turn, settle_for_planning
from tests.unit.rewards.events import (
    build_approval,
    build_conversation,
    build_correction,
    build_interaction,
    build_intervention,
    build_kept_event,
    build_outcome,
    build_prompt,
)

NO_RECORD = "no record of what was sampled"
NOTHING_LEFT_OUT = Settled(barren={}, deferred={})


def episodes(
    *events: KeptEvent,
    interactions: Sequence[Interaction] = (),
    conversation: Sequence[Interaction] = (),
    baselines: Baselines = NO_BASELINES,
    around: Sequence[KeptEvent] = (),
    part: Part = Part.NEW,
    outcome_discount: float = 1.0,
) -> tuple[Episode, ...]:
    """The episodes of the events in a turn that was planned with them."""
    history = build_history(interactions, conversation)
    return episodes_of_turn(
        events,
        part=part,
        history=history,
        baselines=baselines,
        around=around,
        outcome_discount=outcome_discount,
    )


def settled(
    *events: KeptEvent,
    interactions: Sequence[Interaction] = (),
    conversation: Sequence[Interaction] = (),
    baselines: Baselines = NO_BASELINES,
    around: Sequence[KeptEvent] = (),
) -> Settled:
    """Those of the waiting events that no turn is planned with."""
    history = build_history(interactions, conversation)
    return settle_for_planning(events, history=history, baselines=baselines, around=around)


def build_history(interactions: Sequence[Interaction], conversation: Sequence[Interaction]) -> History:
    by_id = {interaction.id: interaction for interaction in (*interactions, *conversation)}
    return History(interactions=by_id, conversations={"talk": conversation})


def whole(value: float, **data: Any) -> KeptEvent:
    """An outcome that names a conversation and nothing in it."""
    return build_kept_event(1, Kind.OUTCOME, {"value": value, **data}, conversation="talk")


def only(earned: Sequence[Episode]) -> Episode:
    (episode,) = earned
    return episode


def advantages(earned: Sequence[Episode]) -> list[tuple[str, float | None]]:
    return [(episode.reply.text, episode.advantage) for episode in earned]


# ── corrections and overrides ─────────────────────────────────────────────────────────────────────


def test_a_correction_is_a_demonstration_with_the_rejected_reply() -> None:
    episode = only(episodes(build_correction(1, "stop order 5", "cancel 5", "cancel 5, notify")))
    assert episode.messages == build_prompt("stop order 5")
    assert episode.reply.text == "cancel 5, notify"
    assert episode.reply.spans
    assert episode.rejected is not None
    assert episode.rejected.text == "cancel 5"
    assert (episode.events, episode.part, episode.mass, episode.advantage) == (("t#e1",), Part.NEW, 1.0, None)


def test_a_correction_that_names_its_interaction_takes_prompt_and_reply_from_it() -> None:
    event = build_kept_event(1, Kind.CORRECTION, {"corrected": "right"}, interaction="i")
    episode = only(episodes(event, interactions=[build_interaction("i", "ask", "wrong")]))
    assert episode.messages == build_prompt("ask")
    assert episode.rejected is not None
    assert episode.rejected.text == "wrong"


def test_the_events_own_texts_win_over_the_interactions() -> None:
    event = build_correction(1, "as I saw it", "as I saw it said", "right", interaction="i")
    episode = only(episodes(event, interactions=[build_interaction("i", "ask", "wrong")]))
    assert episode.messages == build_prompt("as I saw it")
    assert episode.rejected is not None
    assert episode.rejected.text == "as I saw it said"


def test_another_agents_interaction_is_never_used() -> None:
    event = build_kept_event(1, Kind.CORRECTION, {"corrected": "right"}, interaction="i")
    labels = settled(event, interactions=[build_interaction("i", "ask", "wrong", agent="sql")])
    assert labels.barren == {1: "no record of the prompt"}


def test_a_correction_without_what_was_said_is_a_demonstration_alone() -> None:
    event = build_kept_event(
        1, Kind.CORRECTION, {"messages": list(build_prompt("ask")), "corrected": "right"}, interaction="lost"
    )
    episode = only(episodes(event))
    assert episode.rejected is None


def test_a_correction_that_changes_nothing_teaches_nothing() -> None:
    assert settled(build_correction(1, "ask", "same", "same")).barren == {1: "nothing was changed"}


def test_an_override_is_credited_like_a_correction_of_its_turn() -> None:
    event = build_intervention(1, "override", {"corrected": "mine"}, conversation="talk", turn=1)
    episode = only(episodes(event, conversation=build_conversation("talk", 3)))
    assert episode.messages == build_prompt("ask 1")
    assert episode.reply.text == "mine"
    assert episode.rejected is not None
    assert episode.rejected.text == "say 1"


# ── takeovers ─────────────────────────────────────────────────────────────────────────────────────

OPERATOR = [
    {"role": "assistant", "content": "let me"},
    {"role": "user", "content": "please"},
    {"role": "assistant", "content": "done"},
]


def test_a_takeover_demonstrates_the_operators_turns_in_their_context() -> None:
    event = build_intervention(1, "takeover", {"messages": list(build_prompt("help")), "turns": OPERATOR})
    first, second = episodes(event)
    assert first.messages == build_prompt("help")
    assert first.reply.text == "let me"
    assert second.messages == (*build_prompt("help"), *OPERATOR[:2])
    assert second.reply.text == "done"


def test_a_takeover_gives_the_three_turns_before_it_a_negative_advantage() -> None:
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR[:1]}
    event = build_intervention(1, "takeover", data, conversation="talk", turn=4)
    earned = episodes(event, conversation=build_conversation("talk", 6))
    assert advantages(earned) == [("let me", None), ("say 3", -1.0), ("say 2", -0.5), ("say 1", -0.25)]
    assert earned[1].sampled == SampledTokens(token_ids=(1, 2, 3), logprobs=(-0.5,) * 3, version="v0")


def test_turns_of_role_gate_get_no_advantage() -> None:
    conversation = build_conversation("talk", 4)
    conversation = [
        *conversation[:3],
        build_interaction("g", "ask 3", "say 3", conversation="talk", turn=3, role=Role.GATE),
    ]
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR[:1]}
    event = build_intervention(1, "takeover", data, conversation="talk", turn=4)
    assert advantages(episodes(event, conversation=conversation)) == [
        ("let me", None),
        ("say 2", -0.5),
        ("say 1", -0.25),
    ]


def test_a_takeover_without_captured_turns_still_demonstrates() -> None:
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR}
    earned = episodes(build_intervention(1, "takeover", data, conversation="talk", turn=4))
    assert [advantage for _, advantage in advantages(earned)] == [None, None]


def test_a_takeover_of_tool_calls_without_text_teaches_nothing() -> None:
    data = {"messages": list(build_prompt("help")), "turns": [{"role": "assistant", "content": None}]}
    assert settled(build_intervention(1, "takeover", data)).barren == {1: "the operator's turns have no text"}


def test_takeovers_have_half_of_the_demonstrations_mass() -> None:
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR[:1]}
    corrections = [build_correction(seq, f"ask {seq}", "no", "yes") for seq in range(2, 5)]
    earned = episodes(build_intervention(1, "takeover", data), *corrections)
    assert [episode.mass for episode in earned] == [3.0, 1.0, 1.0, 1.0]


# ── aborts ────────────────────────────────────────────────────────────────────────────────────────


def build_abort(seq: int, **more: Any) -> KeptEvent:
    return build_intervention(seq, "abort", conversation="talk", turn=2, **more)


def test_an_abort_is_deferred_while_no_similar_prompt_was_answered_well() -> None:
    labels = settled(build_abort(1), conversation=build_conversation("talk", 3))
    assert labels == Settled(barren={}, deferred={1: "no demonstration or success of that kind"})


def test_an_abort_gives_its_turn_and_the_one_before_a_negative_advantage() -> None:
    around = [build_correction(9, "ask 7", "no", "yes")]
    conversation = build_conversation("talk", 3)
    assert settled(build_abort(1), conversation=conversation, around=around) == NOTHING_LEFT_OUT
    earned = episodes(build_abort(1), conversation=conversation, around=around)
    assert advantages(earned) == [("say 2", -1.0), ("say 1", -0.5)]


def test_an_abort_stays_deferred_where_only_another_kind_of_prompt_succeeded() -> None:
    around = [build_approval(9, "translate this letter into French", "bien")]
    assert settled(build_abort(1), conversation=build_conversation("talk", 3), around=around).deferred


def test_a_planned_abort_does_not_wait_again_when_its_turn_is_prepared() -> None:
    earned = episodes(build_abort(1), conversation=build_conversation("talk", 3))
    assert len(earned) == 2


def test_an_abort_of_which_nothing_was_captured_teaches_nothing() -> None:
    event = build_intervention(1, "abort", {"messages": list(build_prompt("ask")), "said": "no"})
    assert settled(event).barren == {1: NO_RECORD}


@pytest.mark.parametrize("reason", ["environment fault", "Policy_Change", "environment  fault"])
def test_reasons_that_do_not_judge_the_agent_are_recorded_and_not_trained_on(reason: str) -> None:
    labels = settled(build_abort(1, data={"reason": reason}), conversation=build_conversation("talk", 3))
    assert list(labels.barren) == [1]


# ── approvals and rejections ──────────────────────────────────────────────────────────────────────


def build_opinion(seq: int, action: str, **more: Any) -> KeptEvent:
    return build_intervention(seq, action, interaction=f"i{seq}", **more)


def test_approvals_and_rejections_have_a_quarter_of_the_mass() -> None:
    interactions = [build_interaction("i1", "ask", "good"), build_interaction("i2", "ask", "bad")]
    earned = episodes(build_opinion(1, "approve"), build_opinion(2, "reject"), interactions=interactions)
    assert advantages(earned) == [("good", 0.75), ("bad", -0.25)]
    assert [episode.mass for episode in earned] == [0.25, 0.25]


def test_approvals_never_weigh_more_than_rejections() -> None:
    interactions = [build_interaction(f"i{seq}", "ask", f"say {seq}") for seq in range(1, 5)]
    events = [build_opinion(seq, "approve") for seq in range(1, 4)] + [build_opinion(4, "reject")]
    *approvals, rejection = episodes(*events, interactions=interactions)
    assert sum(episode.mass for episode in approvals) == pytest.approx(rejection.mass)


def test_an_approval_without_any_rejection_is_barren() -> None:
    labels = settled(build_opinion(1, "approve"), interactions=[build_interaction("i1", "ask", "good")])
    assert labels.barren == {1: "an approval, and no rejection in the turn"}


def test_a_rejection_of_a_reply_that_the_agent_was_certain_of_is_barren() -> None:
    interactions = [build_interaction("i1", "ask", "sure", logprob=-0.001)]
    assert settled(build_opinion(1, "reject"), interactions=interactions).barren == {1: "already certain"}


@pytest.mark.parametrize("captures", [[], [build_interaction("i1", "ask", "bad", logprob=None)]])
def test_an_opinion_without_sampled_tokens_teaches_nothing(captures: list[Interaction]) -> None:
    assert settled(build_opinion(1, "reject"), interactions=captures).barren == {1: NO_RECORD}


def test_an_opinion_of_other_words_than_were_sampled_teaches_nothing() -> None:
    event = build_opinion(1, "reject", data={"messages": list(build_prompt("ask")), "said": "edited"})
    assert settled(event, interactions=[build_interaction("i1", "ask", "bad")]).barren == {1: NO_RECORD}


def test_as_an_anchor_an_approval_is_a_demonstration() -> None:
    episode = only(episodes(build_approval(1, "ask", "good"), part=Part.ANCHOR))
    assert (episode.reply.text, episode.advantage, episode.mass) == ("good", None, 1.0)


# ── outcomes ──────────────────────────────────────────────────────────────────────────────────────


def test_the_advantage_of_an_outcome_is_its_value_minus_the_baseline() -> None:
    event = build_outcome(1, 1.0, interaction="i", prompt_group="p")
    earned = episodes(
        event,
        interactions=[build_interaction("i", "ask", "said")],
        baselines=Baselines(usual=-1.0, groups={"p": 0.25}),
    )
    assert advantages(earned) == [("said", 0.75)]


def test_the_advantage_of_an_outcome_is_one_at_most() -> None:
    event = build_outcome(1, 1.0, interaction="i")
    earned = episodes(
        event, interactions=[build_interaction("i", "ask", "said")], baselines=Baselines(usual=-0.5)
    )
    assert advantages(earned) == [("said", 1.0)]


def test_an_outcome_equal_to_the_baseline_is_barren() -> None:
    event = build_outcome(1, 0.5, interaction="i")
    labels = settled(
        event, interactions=[build_interaction("i", "ask", "said")], baselines=Baselines(usual=0.5)
    )
    assert labels.barren == {1: "as good as usual"}


def test_an_outcome_of_all_turns_is_shared_among_them() -> None:
    event = build_outcome(1, 1.0, scope="all", conversation="talk", turn=2)
    earned = episodes(event, conversation=build_conversation("talk", 4))
    assert [(episode.reply.text, episode.advantage) for episode in earned] == [
        ("say 2", 1.0),
        ("say 0", 1.0),
        ("say 1", 1.0),
    ]
    assert sum(episode.mass for episode in earned) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("discount", "wanted"),
    [(1.0, [1.0, 1.0, 1.0]), (0.5, [1.0, 0.25, 0.5])],
)
def test_an_outcome_of_a_conversation_is_discounted_for_each_turn_before_the_last(
    discount: float, wanted: list[float]
) -> None:
    event = build_outcome(1, 1.0, scope="all", interaction="talk/2", conversation="talk")
    conversation = build_conversation("talk", 4)
    earned = episodes(event, conversation=conversation, outcome_discount=discount)
    assert [episode.reply.text for episode in earned] == ["say 2", "say 0", "say 1"]
    assert [episode.advantage for episode in earned] == wanted
    assert sum(episode.mass for episode in earned) == pytest.approx(1.0)


def test_turns_of_several_versions_are_credited_under_what_each_of_them_sampled() -> None:
    conversation = [
        replace(turn, version=f"v{place}", logprobs=(-float(place + 1),) * 3)
        for place, turn in enumerate(build_conversation("talk", 3))
    ]
    event = build_outcome(1, -1.0, scope="all", interaction="talk/2", conversation="talk")
    sampled = {
        episode.reply.text: episode.sampled.logprobs[0]
        for episode in episodes(event, conversation=conversation)
        if episode.sampled
    }
    assert sampled == {"say 0": -1.0, "say 1": -2.0, "say 2": -3.0}


def test_an_outcome_that_names_a_conversation_alone_is_about_all_its_turns() -> None:
    conversation = build_conversation("talk", 3)
    earned = episodes(whole(1.0), conversation=conversation, outcome_discount=0.5)
    assert [(e.messages, e.advantage) for e in earned] == [
        (turn.messages, value) for turn, value in zip(conversation, (0.25, 0.5, 1.0), strict=True)
    ]
    assert [e.mass for e in earned] == [1 / 3] * 3


def test_an_outcome_of_a_conversation_may_be_about_its_last_turn_alone() -> None:
    conversation = build_conversation("talk", 3)
    (earned,) = episodes(whole(1.0, scope="final"), conversation=conversation)
    assert earned.messages == conversation[-1].messages


def test_no_turn_of_another_role_is_trained_by_an_outcome_of_its_conversation() -> None:
    first, second, last = build_conversation("talk", 3)
    conversation = (first, second, replace(last, role=Role.GATE))
    earned = episodes(whole(1.0), conversation=conversation)
    assert [e.messages for e in earned] == [first.messages, second.messages]
    assert settled(whole(1.0, scope="final"), conversation=conversation).barren == {1: NO_RECORD}


def test_a_rejection_of_a_conversation_is_shared_among_its_turns() -> None:
    event = build_intervention(1, "reject", conversation="talk")
    earned = episodes(event, conversation=build_conversation("talk", 2), outcome_discount=0.5)
    assert [e.advantage for e in earned] == [-0.125, -0.25]
    assert [e.mass for e in earned] == [0.125] * 2


def test_an_abort_of_a_conversation_is_about_its_last_turn_and_the_one_before() -> None:
    event = build_intervention(1, "abort", conversation="talk")
    earned = episodes(event, conversation=build_conversation("talk", 3))
    assert [e.advantage for e in earned] == [-1.0, -0.5]


def test_a_correction_may_name_the_turn_of_a_conversation() -> None:
    event = build_kept_event(1, Kind.CORRECTION, {"corrected": "no"}, conversation="talk", turn=1)
    conversation = build_conversation("talk", 3)
    (earned,) = episodes(event, conversation=conversation)
    assert earned.messages == conversation[1].messages
    assert (earned.reply.text, earned.rejected and earned.rejected.text) == ("no", "say 1")


def test_turns_that_were_not_captured_get_no_share_of_an_outcome() -> None:
    captured = [turn for place, turn in enumerate(build_conversation("talk", 4)) if place != 1]
    event = build_outcome(1, 1.0, scope="all", interaction="talk/3", conversation="talk")
    earned = episodes(event, conversation=captured, outcome_discount=0.5)
    assert advantages(earned) == [("say 3", 1.0), ("say 0", 0.125), ("say 2", 0.5)]


# ── amendments ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("value", "advantage"), [(1.0, 0.5), (-0.2, -1.0)])
def test_an_amending_outcome_says_whether_the_earlier_turn_was_kept(value: float, advantage: float) -> None:
    around = [build_opinion(1, "approve", key="k")]
    earned = episodes(
        build_outcome(2, value, amends="k"),
        interactions=[build_interaction("i1", "ask", "good")],
        around=around,
    )
    assert advantages(earned) == [("good", advantage)]
    assert earned[0].events == ("t#e2", "t#e1")


def test_a_correction_that_was_kept_is_demonstrated_once_more_at_half_mass() -> None:
    events = [build_correction(1, "ask", "no", "yes", key="k"), build_outcome(2, 1.0, amends="k")]
    first, again = episodes(*events)
    assert (first.mass, again.mass) == (1.0, 0.5)
    assert (again.reply.text, again.events) == ("yes", ("t#e2", "t#e1"))


def test_a_correction_that_was_reverted_is_not_trained_on() -> None:
    events = [build_correction(1, "ask", "no", "yes", key="k"), build_outcome(2, -1.0, amends="k")]
    assert settled(*events).barren == {1: "reverted later", 2: "takes back what was taught"}


def with_status(kept: KeptEvent, status: Status) -> KeptEvent:
    return replace(kept, status=status)


def test_a_retracted_correction_is_not_demonstrated_again_by_an_outcome_that_amends_it() -> None:
    around = [with_status(build_correction(1, "ask", "no", "yes", key="k"), Status.RETRACTED)]
    kept_it = build_outcome(2, 1.0, amends="k")
    assert settled(kept_it, around=around).barren == {2: "what it amends was taken back"}
    assert only(episodes(kept_it, around=around)).reply.text == "yes", "a pass trained again"


def test_an_outcome_that_amends_a_replaced_correction_demonstrates_the_new_one() -> None:
    around = [
        build_correction(3, "ask", "no", "yes, please", amends="k"),
        with_status(build_correction(1, "ask", "no", "yes", key="k", revision=1), Status.SUPERSEDED),
    ]
    assert only(episodes(build_outcome(2, 1.0, amends="k"), around=around)).reply.text == "yes, please"


def test_an_abort_stays_deferred_where_the_success_was_retracted() -> None:
    around = [with_status(build_correction(1, "ask 3", "no", "yes"), Status.RETRACTED)]
    assert settled(build_abort(2), around=around, conversation=build_conversation("talk", 3)).deferred


def test_an_outcome_that_replaces_an_outcome_is_about_the_same_turn() -> None:
    around = [build_outcome(1, -1.0, interaction="i", key="k")]
    event = build_outcome(2, 1.0, amends="k", revision=2)
    assert advantages(
        episodes(event, interactions=[build_interaction("i", "ask", "said")], around=around)
    ) == [("said", 1.0)]


# ── what is never trained on ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", [Role.GATE, Role.DEV])
def test_events_kept_for_judging_are_never_trained_on(role: Role) -> None:
    labels = settled(build_correction(1, "ask", "no", "yes", role=role))
    assert labels.deferred == {1: "kept for judging"}


def test_dev_events_become_episodes_of_the_dev_part() -> None:
    episode = only(episodes(build_correction(1, "ask", "no", "yes", role=Role.DEV), part=Part.DEV))
    assert episode.part is Part.DEV


def test_an_event_waits_for_its_interaction() -> None:
    event = build_kept_event(1, Kind.CORRECTION, {"corrected": "yes"}, interaction="later", role=None)
    assert settled(event).deferred == {1: "waits for its interaction"}
