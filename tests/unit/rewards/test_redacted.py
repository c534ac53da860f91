"""What redaction wrote in place of secrets and personal data is never taught, and the receipt says why."""

import pytest

from ledger.events import KeptEvent
from rewards.baseline import NO_BASELINES
from rewards.episode import Episode, Part
from rewards.exchange import History
from rewards.labelling import episodes_of_turn, settle_for_planning
from tests.unit.rewards.events import (
    build_approval,
    build_correction,
    build_interaction,
    build_intervention,
    build_outcome,
    build_prompt,
)

REDACTED = "Write to [email], or call [phone]."
REASON = "the reply to learn was redacted: [email], [phone]"


def taught(*events: KeptEvent, part: Part = Part.NEW, **history) -> tuple[Episode, ...]:
    known = History(interactions=history, conversations={})
    return episodes_of_turn(events, part=part, history=known, baselines=NO_BASELINES)


def reasons(*events: KeptEvent, **history) -> list[str]:
    known = History(interactions=history, conversations={})
    return list(settle_for_planning(events, history=known, baselines=NO_BASELINES).barren.values())


@pytest.mark.parametrize(
    "event",
    [
        build_correction(1, "whom?", "nobody", REDACTED),
        build_correction(1, "whom?", REDACTED, REDACTED),
        build_intervention(
            1, "override", {"messages": list(build_prompt("whom?")), "said": "no", "corrected": REDACTED}
        ),
    ],
    ids=["a correction", "a correction of what was redacted alone", "an override"],
)
def test_a_reply_that_was_redacted_teaches_nothing_and_says_so(event: KeptEvent) -> None:
    assert reasons(event) == [REASON]
    assert taught(event) == ()


@pytest.mark.parametrize("part", [Part.REPLAY, Part.ANCHOR])
def test_neither_replay_nor_anchors_teach_what_was_redacted(part: Part) -> None:
    assert taught(build_correction(1, "whom?", "nobody", REDACTED), part=part) == ()
    assert taught(build_approval(1, "whom?", REDACTED), part=part) == ()


def test_of_a_takeover_the_turns_without_placeholders_teach() -> None:
    turns = [
        {"role": "assistant", "content": REDACTED},
        {"role": "user", "content": "thanks"},
        {"role": "assistant", "content": "You are welcome."},
    ]
    event = build_intervention(1, "takeover", {"messages": list(build_prompt("whom?")), "turns": turns})
    assert [episode.reply.text for episode in taught(event)] == ["You are welcome."]
    alone = build_intervention(1, "takeover", {"messages": list(build_prompt("whom?")), "turns": turns[:1]})
    assert reasons(alone) == [REASON]


def test_a_rejected_reply_that_was_redacted_leaves_the_correction_alone_to_teach() -> None:
    (episode,) = taught(build_correction(1, "whom?", REDACTED, "Write to the desk."))
    assert episode.reply.text == "Write to the desk."
    assert episode.rejected is None


def test_praise_for_an_answer_that_says_a_placeholder_teaches_nothing_and_blame_does() -> None:
    said = build_interaction("i1", "whom?", REDACTED)
    praise = build_intervention(1, "approve", interaction="i1")
    blame = build_intervention(2, "reject", interaction="i1")
    assert reasons(praise, i1=said) == [REASON]
    assert [episode.advantage for episode in taught(blame, i1=said)] == [-0.25]
    assert reasons(build_outcome(3, 1.0, interaction="i1"), i1=said) == [REASON]


def test_a_placeholder_in_the_prompt_does_no_harm() -> None:
    assert len(taught(build_correction(1, "write to [email]", "no", "It is sent."))) == 1
