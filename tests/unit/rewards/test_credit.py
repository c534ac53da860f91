"""The credit table, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ledger.events import Interaction, KeptEvent, Kind, Role, Status
from rewards.baseline import frozen, thawed, usual
from rewards.episode import Episode, Part, Spoken
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
RIPE = Settled(barren={}, deferred={})


def episodes(
    *events: KeptEvent,
    interactions: Sequence[Interaction] = (),
    conversation: Sequence[Interaction] = (),
    baselines: Mapping[str | None, float] | None = None,
    around: Sequence[KeptEvent] = (),
    part: Part = Part.NEW,
) -> tuple[Episode, ...]:
    """What the events become in a turn that was planned with them."""
    history = build_history(interactions, conversation)
    return episodes_of_turn(
        events, part=part, history=history, baselines=baselines or {None: 0.0}, around=around
    )


def settled(
    *events: KeptEvent,
    interactions: Sequence[Interaction] = (),
    conversation: Sequence[Interaction] = (),
    baselines: Mapping[str | None, float] | None = None,
    around: Sequence[KeptEvent] = (),
) -> Settled:
    """Which of the waiting events no turn is planned with."""
    history = build_history(interactions, conversation)
    return settle_for_planning(events, history=history, baselines=baselines or {None: 0.0}, around=around)


def build_history(interactions: Sequence[Interaction], conversation: Sequence[Interaction]) -> History:
    by_id = {interaction.id: interaction for interaction in (*interactions, *conversation)}
    return History(interactions=by_id, conversations={"talk": conversation})


def only(found: Sequence[Episode]) -> Episode:
    (episode,) = found
    return episode


def worth(found: Sequence[Episode]) -> list[tuple[str, float | None]]:
    return [(episode.reply.text, episode.advantage) for episode in found]


# ── corrections and overrides ─────────────────────────────────────────────────────────────────────


def test_a_correction_is_a_demonstration_beside_what_was_wrong() -> None:
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
    found = settled(event, interactions=[build_interaction("i", "ask", "wrong", agent="sql")])
    assert found.barren == {1: "no record of the prompt"}


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


def test_a_takeover_blames_the_three_turns_before_it_and_no_earlier_ones() -> None:
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR[:1]}
    event = build_intervention(1, "takeover", data, conversation="talk", turn=4)
    found = episodes(event, conversation=build_conversation("talk", 6))
    assert worth(found) == [("let me", None), ("say 3", -1.0), ("say 2", -0.5), ("say 1", -0.25)]
    assert found[1].spoken == Spoken(token_ids=(1, 2, 3), logprobs=(-0.5,) * 3)


def test_turns_whose_prompts_are_kept_for_the_gate_are_never_blamed() -> None:
    conversation = build_conversation("talk", 4)
    conversation = [
        *conversation[:3],
        build_interaction("g", "ask 3", "say 3", conversation="talk", turn=3, role=Role.GATE),
    ]
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR[:1]}
    event = build_intervention(1, "takeover", data, conversation="talk", turn=4)
    assert worth(episodes(event, conversation=conversation)) == [
        ("let me", None),
        ("say 2", -0.5),
        ("say 1", -0.25),
    ]


def test_a_takeover_without_captured_turns_still_demonstrates() -> None:
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR}
    found = episodes(build_intervention(1, "takeover", data, conversation="talk", turn=4))
    assert [advantage for _, advantage in worth(found)] == [None, None]


def test_a_takeover_of_tool_calls_without_text_teaches_nothing() -> None:
    data = {"messages": list(build_prompt("help")), "turns": [{"role": "assistant", "content": None}]}
    assert settled(build_intervention(1, "takeover", data)).barren == {1: "the operator's turns have no text"}


def test_takeovers_have_half_of_the_demonstrations_mass() -> None:
    data = {"messages": list(build_prompt("help")), "turns": OPERATOR[:1]}
    corrections = [build_correction(seq, f"ask {seq}", "no", "yes") for seq in range(2, 5)]
    found = episodes(build_intervention(1, "takeover", data), *corrections)
    assert [episode.mass for episode in found] == [3.0, 1.0, 1.0, 1.0]


# ── aborts ────────────────────────────────────────────────────────────────────────────────────────


def stopped(seq: int, **more: Any) -> KeptEvent:
    return build_intervention(seq, "abort", conversation="talk", turn=2, **more)


def test_an_abort_waits_while_nothing_shows_how_it_should_go() -> None:
    found = settled(stopped(1), conversation=build_conversation("talk", 3))
    assert found == Settled(barren={}, deferred={1: "no demonstration or success of that kind"})


def test_an_abort_blames_its_turn_and_the_one_before_once_its_kind_was_demonstrated() -> None:
    around = [build_correction(9, "ask 7", "no", "yes")]
    conversation = build_conversation("talk", 3)
    assert settled(stopped(1), conversation=conversation, around=around) == RIPE
    found = episodes(stopped(1), conversation=conversation, around=around)
    assert worth(found) == [("say 2", -1.0), ("say 1", -0.5)]


def test_success_at_another_kind_of_prompt_does_not_release_an_abort() -> None:
    around = [build_approval(9, "translate this letter into French", "bien")]
    assert settled(stopped(1), conversation=build_conversation("talk", 3), around=around).deferred


def test_a_planned_abort_does_not_wait_again_when_its_turn_is_prepared() -> None:
    found = episodes(stopped(1), conversation=build_conversation("talk", 3))
    assert len(found) == 2


def test_an_abort_of_which_nothing_was_captured_teaches_nothing() -> None:
    event = build_intervention(1, "abort", {"messages": list(build_prompt("ask")), "said": "no"})
    assert settled(event).barren == {1: NO_RECORD}


@pytest.mark.parametrize("reason", ["environment fault", "Policy_Change", "environment  fault"])
def test_reasons_that_do_not_judge_the_agent_are_recorded_and_not_trained_on(reason: str) -> None:
    found = settled(stopped(1, data={"reason": reason}), conversation=build_conversation("talk", 3))
    assert list(found.barren) == [1]


# ── approvals and rejections ──────────────────────────────────────────────────────────────────────


def judged(seq: int, action: str, **more: Any) -> KeptEvent:
    return build_intervention(seq, action, interaction=f"i{seq}", **more)


def test_praise_and_blame_weigh_a_quarter_and_differ_in_size() -> None:
    interactions = [build_interaction("i1", "ask", "good"), build_interaction("i2", "ask", "bad")]
    found = episodes(judged(1, "approve"), judged(2, "reject"), interactions=interactions)
    assert worth(found) == [("good", 0.75), ("bad", -0.25)]
    assert [episode.mass for episode in found] == [0.25, 0.25]


def test_praise_never_weighs_more_than_blame() -> None:
    interactions = [build_interaction(f"i{seq}", "ask", f"say {seq}") for seq in range(1, 5)]
    events = [judged(seq, "approve") for seq in range(1, 4)] + [judged(4, "reject")]
    *praise, blame = episodes(*events, interactions=interactions)
    assert sum(episode.mass for episode in praise) == pytest.approx(blame.mass)


def test_praise_without_any_blame_is_left_out_with_a_reason() -> None:
    found = settled(judged(1, "approve"), interactions=[build_interaction("i1", "ask", "good")])
    assert found.barren == {1: "praise, and no blame to weigh it"}


def test_opinions_of_what_the_agent_was_certain_of_move_nothing() -> None:
    interactions = [build_interaction("i1", "ask", "sure", logprob=-0.001)]
    assert settled(judged(1, "reject"), interactions=interactions).barren == {1: "already certain"}


@pytest.mark.parametrize("captures", [[], [build_interaction("i1", "ask", "bad", logprob=None)]])
def test_an_opinion_without_sampled_tokens_teaches_nothing(captures: list[Interaction]) -> None:
    assert settled(judged(1, "reject"), interactions=captures).barren == {1: NO_RECORD}


def test_an_opinion_of_other_words_than_were_sampled_teaches_nothing() -> None:
    event = judged(1, "reject", data={"messages": list(build_prompt("ask")), "said": "edited"})
    assert settled(event, interactions=[build_interaction("i1", "ask", "bad")]).barren == {1: NO_RECORD}


def test_as_an_anchor_an_approval_is_imitation_and_no_praise() -> None:
    episode = only(episodes(build_approval(1, "ask", "good"), part=Part.ANCHOR))
    assert (episode.reply.text, episode.advantage, episode.mass) == ("good", None, 1.0)


# ── outcomes ──────────────────────────────────────────────────────────────────────────────────────


def test_an_outcome_is_worth_what_it_exceeds_the_usual_by() -> None:
    event = build_outcome(1, 1.0, interaction="i", prompt_group="p")
    found = episodes(
        event, interactions=[build_interaction("i", "ask", "said")], baselines={None: -1.0, "p": 0.25}
    )
    assert worth(found) == [("said", 0.75)]


def test_an_outcome_is_worth_one_at_most() -> None:
    event = build_outcome(1, 1.0, interaction="i")
    found = episodes(event, interactions=[build_interaction("i", "ask", "said")], baselines={None: -0.5})
    assert worth(found) == [("said", 1.0)]


def test_an_outcome_as_good_as_usual_teaches_nothing() -> None:
    event = build_outcome(1, 0.5, interaction="i")
    found = settled(event, interactions=[build_interaction("i", "ask", "said")], baselines={None: 0.5})
    assert found.barren == {1: "as good as usual"}


def test_an_outcome_of_all_turns_is_shared_among_them() -> None:
    event = build_outcome(1, 1.0, scope="all", conversation="talk", turn=2)
    found = episodes(event, conversation=build_conversation("talk", 4))
    assert [(e.reply.text, e.advantage) for e in found] == [
        ("say 2", 1.0),
        ("say 0", 1.0),
        ("say 1", 1.0),
    ]
    assert sum(episode.mass for episode in found) == pytest.approx(1.0)


def test_the_usual_is_a_mean_by_event_time_for_the_agent_and_for_repeated_prompts() -> None:
    outcomes = [
        build_outcome(1, -1.0, prompt_group="p", occurred_s=50.0),
        build_outcome(2, 1.0, prompt_group="p", occurred_s=60.0),
        build_outcome(3, 0.5, prompt_group="q", occurred_s=70.0),
        build_outcome(4, -1.0, prompt_group="q", occurred_s=10.0),
        build_outcome(5, -1.0, amends="k", occurred_s=80.0),
    ]
    assert usual(outcomes, last=3) == {None: pytest.approx(0.5 / 3), "p": 0.0}
    assert usual([], last=3) == {None: 0.0}


def test_baselines_come_back_from_the_turn_row_as_they_went_in() -> None:
    baselines = {None: 0.25, "p": -0.5}
    assert thawed(frozen(baselines)) == baselines


# ── amendments ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("value", "advantage"), [(1.0, 0.5), (-0.2, -1.0)])
def test_an_amending_outcome_says_whether_the_earlier_turn_was_kept(value: float, advantage: float) -> None:
    around = [judged(1, "approve", key="k")]
    found = episodes(
        build_outcome(2, value, amends="k"),
        interactions=[build_interaction("i1", "ask", "good")],
        around=around,
    )
    assert worth(found) == [("good", advantage)]
    assert found[0].events == ("t#e2", "t#e1")


def test_a_correction_that_was_kept_is_shown_once_more_at_half_mass() -> None:
    events = [build_correction(1, "ask", "no", "yes", key="k"), build_outcome(2, 1.0, amends="k")]
    first, again = episodes(*events)
    assert (first.mass, again.mass) == (1.0, 0.5)
    assert (again.reply.text, again.events) == ("yes", ("t#e2", "t#e1"))


def test_a_correction_that_was_reverted_is_not_trained_on() -> None:
    events = [build_correction(1, "ask", "no", "yes", key="k"), build_outcome(2, -1.0, amends="k")]
    assert settled(*events).barren == {1: "reverted later", 2: "takes back what was taught"}


def gone(build_kept_event: KeptEvent, status: Status) -> KeptEvent:
    return replace(build_kept_event, status=status)


def test_what_was_retracted_is_not_shown_again_because_somebody_had_kept_it() -> None:
    around = [gone(build_correction(1, "ask", "no", "yes", key="k"), Status.RETRACTED)]
    kept_it = build_outcome(2, 1.0, amends="k")
    assert settled(kept_it, around=around).barren == {2: "what it amends was taken back"}
    assert only(episodes(kept_it, around=around)).reply.text == "yes", "a pass trained again"


def test_what_replaced_a_correction_is_what_was_kept() -> None:
    around = [
        build_correction(3, "ask", "no", "yes, please", amends="k"),
        gone(build_correction(1, "ask", "no", "yes", key="k", revision=1), Status.SUPERSEDED),
    ]
    assert only(episodes(build_outcome(2, 1.0, amends="k"), around=around)).reply.text == "yes, please"


def test_a_success_that_was_retracted_releases_no_abort() -> None:
    around = [gone(build_correction(1, "ask 3", "no", "yes"), Status.RETRACTED)]
    assert settled(stopped(2), around=around, conversation=build_conversation("talk", 3)).deferred


def test_an_outcome_that_replaces_an_outcome_is_about_the_same_turn() -> None:
    around = [build_outcome(1, -1.0, interaction="i", key="k")]
    event = build_outcome(2, 1.0, amends="k", revision=2)
    assert worth(episodes(event, interactions=[build_interaction("i", "ask", "said")], around=around)) == [
        ("said", 1.0)
    ]


# ── what is never trained on ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", [Role.GATE, Role.DEV])
def test_events_kept_for_judging_are_never_trained_on(role: Role) -> None:
    found = settled(build_correction(1, "ask", "no", "yes", role=role))
    assert found.deferred == {1: "kept for judging"}


def test_dev_events_are_watched_and_not_trained_on() -> None:
    episode = only(episodes(build_correction(1, "ask", "no", "yes", role=Role.DEV), part=Part.DEV))
    assert episode.part is Part.DEV


def test_an_event_waits_for_its_interaction() -> None:
    event = build_kept_event(1, Kind.CORRECTION, {"corrected": "yes"}, interaction="later", role=None)
    assert settled(event).deferred == {1: "waits for its interaction"}
