"""Each new event of a turn has one result, whatever the engine did with its episodes."""

from daemon.learning.event_results import event_results
from daemon.learning.preparing import PreparedTurn
from engine.lesson import Learned, Lesson, NotLearned, RefusedEvents
from engine.recipe import recipe_from
from ledger.turn_states import EventOutcome, EventResult
from rewards.episode import Episode, Part, Weighted
from tests.unit.engine.measurements import build_metrics

BARREN = EventResult(outcome=EventOutcome.BARREN, reason="too long")


def build_episode(*uids: str, part: Part = Part.NEW) -> Episode:
    asked = ({"role": "user", "content": "hello"},)
    return Episode(events=uids, part=part, messages=asked, reply=Weighted(text="hi"))


def build_prepared(*episodes: Episode, new: dict[str, int]) -> PreparedTurn:
    lesson = Lesson(agent="billing", parent=None, recipe=recipe_from({}), seed=1, episodes=episodes)
    return PreparedTurn(lesson=lesson, parent=None, new=new, uids={})


def not_learned(*, refused: tuple[str, ...] = (), already_known: tuple[str, ...] = ()) -> NotLearned:
    refusals = tuple(RefusedEvents(events=(uid,), reason="too long") for uid in refused)
    return NotLearned(agent="billing", reason="nothing left", refused=refusals, already_known=already_known)


def learned(*, refused: tuple[str, ...] = ()) -> Learned:
    return Learned(
        agent="billing",
        parent=None,
        recipe=recipe_from({}),
        metrics=build_metrics(),
        refused=tuple(RefusedEvents(events=(uid,), reason="too long") for uid in refused),
        skipped=(),
        already_known=(),
        state=None,
    )


def test_an_event_all_of_whose_episodes_were_refused_is_barren() -> None:
    prepared = build_prepared(build_episode("a"), build_episode("a"), new={"a": 1})
    assert event_results(prepared, not_learned(refused=("a", "a"))) == {1: BARREN}


def test_an_event_with_an_episode_left_waits_when_nothing_was_learned() -> None:
    prepared = build_prepared(build_episode("a"), build_episode("a"), new={"a": 1})
    assert event_results(prepared, not_learned(refused=("a",))) == {}


def test_an_event_of_which_a_part_was_refused_is_trained_and_says_so() -> None:
    prepared = build_prepared(
        build_episode("a"), build_episode("a"), build_episode("b"), new={"a": 1, "b": 2}
    )
    results = event_results(prepared, learned(refused=("a",)))
    assert results == {
        1: EventResult(outcome=EventOutcome.TRAINED, reason="without 1 of its 2 episodes: too long"),
        2: EventResult(outcome=EventOutcome.TRAINED),
    }


def test_an_event_the_agent_answers_as_corrected_is_already_known() -> None:
    prepared = build_prepared(build_episode("a"), build_episode("b"), new={"a": 1, "b": 2})
    results = event_results(prepared, not_learned(refused=("b",), already_known=("a",)))
    assert results == {1: EventResult(outcome=EventOutcome.ALREADY_KNOWN), 2: BARREN}


def test_events_that_are_only_shown_again_have_no_result() -> None:
    prepared = build_prepared(build_episode("old", part=Part.REPLAY), new={"a": 1})
    assert event_results(prepared, not_learned(refused=("old",))) == {}
