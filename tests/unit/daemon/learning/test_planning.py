"""What a turn is planned with where nobody approves: captured replies that nobody objected to."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.learning.parts import FIRST_TRY
from daemon.learning.planning import TurnLimits, plan_turn
from daemon.learning.preparing import prepare_turn
from daemon.learning.scheduler import shows_replies
from ledger.database import Database
from ledger.events import Event, Interaction, Kind
from ledger.learning import passes
from ledger.learning.agents import Agent
from ledger.learning.backlog import backlogs
from ledger.turn_states import TurnPart
from rewards.baseline import ALIKE
from rewards.episode import Part
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, keep
from tests.unit.ledger.ledger_builder import build_ledger
from tests.unit.ledger.turn_builder import lease


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = build_ledger(tmp_path / "clorad.db", "billing")
    yield opened
    opened.close()


def capture(id: str, asked: str, said: str) -> Interaction:
    messages = ({"role": "user", "content": asked},)
    return build_interaction(id, messages=messages, completion=said, prompt_group=f"group of {id}")


def correct(number: int, **changed: object) -> Event:
    messages = [{"role": "user", "content": f"Please cancel order {number} now."}]
    data = {"messages": messages, "rejected": "Sure!", "corrected": f"cancel {number}"}
    return build_event(f"c{number}", data=data, prompt_group=f"group {number}", **changed)


@pytest.mark.parametrize(("settle_s", "expected"), [(0.0, {"near", "far"}), (3600.0, set())])
def test_anchors_are_replies_nobody_objected_to_and_a_trained_pass_gets_the_same(
    database: Database, tmp_path: Path, settle_s: float, expected: set[str]
) -> None:
    captures = (
        capture("near", "Can an order be cancelled once it was sent?", "Within two weeks."),
        capture("far", "What is the capital of France?", "Paris."),
        capture("alike", "Please cancel order 4711 now.", "Sure!"),
        capture("named", "Please cancel everything.", "Sure!"),
    )
    keep(database, *captures, partition=INTERACTIONS)
    keep(database, correct(11), correct(12), correct(13, interaction="named"))
    tokens = lease(database, "billing")
    limits = TurnLimits(new_max=8, replay_max=8, anchors_max=8, settle_s=settle_s, authors_min=1)
    with database.read() as connection:
        [backlog] = backlogs(connection)
        agent = Agent(name="billing", base_hash="b" * 64)
        plan = plan_turn(
            connection, agent, backlog, token=tokens["billing"], limits=limits, readiness=FIRST_TRY
        ).plan
    assert plan is not None
    assert set(plan.replies) == expected
    assert {event.part for event in plan.events} == {TurnPart.NEW}
    opened = passes.open_pass(database, [plan], holder="learner", form={})
    with database.read() as connection:
        again = passes.read_pass(connection, opened.id)
    assert again is not None
    prepared = prepare_turn(database, tmp_path, again.turns[0])
    anchors = [episode for episode in prepared.lesson.episodes if episode.part is Part.ANCHOR]
    assert {episode.reply.text for episode in anchors} == {"Within two weeks.", "Paris."} & {
        capture.completion for capture in captures if capture.id in expected
    }
    assert set(prepared.uids["anchor"]) == {f"clorad/silence#{id}" for id in expected}


def try_task(number: int, value: float, task: str) -> Event:
    data = {"value": value, "scope": "final", "task": task}
    return build_event(f"o{number}", kind=Kind.OUTCOME, data=data, interaction=f"i{number}")


def test_a_turn_of_grpo_compares_outcomes_of_a_task_and_shows_nothing_but_them(
    database: Database, tmp_path: Path
) -> None:
    values = {"t": (1.0, 0.0, 0.0), "u": (1.0, 1.0)}
    tried = [(task, value) for task, own in values.items() for value in own]
    captures = [
        build_interaction(f"i{number}", messages=({"role": "user", "content": f"{task} {number}"},))
        for number, (task, _) in enumerate(tried)
    ]
    keep(database, *captures, capture("far", "What is the capital of France?", "Paris."))
    keep(database, *(try_task(number, value, task) for number, (task, value) in enumerate(tried)))
    tokens = lease(database, "billing")
    limits = TurnLimits(new_max=8, replay_max=8, anchors_max=8, settle_s=0.0, authors_min=1)
    with database.read() as connection:
        [backlog] = backlogs(connection)
        agent = Agent(name="billing", base_hash="b" * 64, recipe={"preset": "grpo"}, capture=True)
        planned = plan_turn(
            connection, agent, backlog, token=tokens["billing"], limits=limits, readiness=FIRST_TRY
        )
    assert planned.plan is not None
    assert planned.plan.replies == ()
    assert [reason for _, reason in planned.marks.values()] == [ALIKE, ALIKE]
    opened = passes.open_pass(database, [planned.plan], holder="learner", form={})
    episodes = prepare_turn(database, tmp_path, opened.turns[0]).lesson.episodes
    assert [episode.advantage for episode in episodes] == pytest.approx([2 / 3, -1 / 3, -1 / 3])


@pytest.mark.parametrize(("recipe", "waits"), [({}, True), ({"preset": "grpo"}, False)])
def test_only_an_agent_whose_turns_show_replies_waits_for_some(
    recipe: Mapping[str, object], waits: bool
) -> None:
    assert shows_replies(Agent(name="billing", base_hash="b" * 64, recipe=recipe, capture=True)) is waits
