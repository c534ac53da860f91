"""What a turn is planned with: what one person said or several, and captured replies nobody objected to."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.learning.preparing import prepare_turn
from daemon.learning.scheduler import Freshness, due_backlogs, shows_replies, waiting_reason
from daemon.learning.turns.material import TurnLimits
from daemon.learning.turns.parts import FIRST_TRY
from daemon.learning.turns.planning import PlannedTurn, plan_turn
from ledger.database import Database
from ledger.events import WAITS_FOR_ANOTHER, Event, Interaction, Kind, Role, Status
from ledger.learning import passes
from ledger.learning.agents import Agent, all_agents, declare
from ledger.learning.backlog import Backlog, backlogs
from ledger.learning.event_queries import event_by_uid, mark, usable
from ledger.turn_states import TurnPart
from ledger.versions.gate_modes import GateMode
from rewards.baseline import ALIKE
from rewards.episode import Part
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, build_outcome, keep
from tests.unit.ledger.ledger_builder import BASE_HASH, build_ledger
from tests.unit.ledger.turn_builder import lease

LIMITS = TurnLimits(new_max=64, replay_max=8, anchors_max=8, settle_s=3600.0, authors_min=2)
FRESHNESS = Freshness(
    events_min=16, age_s_max=3600.0, alpha=0.05, refusals_max=3, suite_min=0, settle_s=0.0, authors_min=1
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
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


def test_of_two_outcomes_of_one_author_for_one_interaction_the_newer_counts(database: Database) -> None:
    captures = [
        build_interaction(f"i{number}", messages=({"role": "user", "content": f"t {number}"},))
        for number in range(3)
    ]
    keep(database, *captures, partition=INTERACTIONS)
    again = replace(try_task(0, 0.0, "t"), id="again")
    keep(database, try_task(0, 1.0, "t"), try_task(1, 1.0, "t"), try_task(2, 0.0, "t"), again)
    declare(database, Agent(name="billing", base_hash="b" * 64, recipe={"preset": "grpo"}, capture=True))
    planned = plan(database)
    assert new_events(database, planned) == {"again", "o1", "o2"}
    assert statuses(database, "o0") == [Status.SUPERSEDED]
    assert planned.plan is not None
    assert list(planned.plan.labelling["groups"].values()) == [pytest.approx(1 / 3)]


def build_correction(id: str, author: str, *, reply: str = "cancel {}", **changed: object) -> Event:
    """The correction of `stop N`, N being the number in the id."""
    number = id.lstrip("abcdefghijklmnopqrstuvwxyz")
    data = {
        "messages": [{"role": "user", "content": f"stop {number}"}],
        "rejected": f"refund {number}",
        "corrected": reply.format(number),
    }
    return build_event(id, author=author, data=data, **changed)


def plan(database: Database, limits: TurnLimits = LIMITS) -> PlannedTurn:
    """Plan a turn, and mark events as it says."""
    with database.read() as connection:
        [waiting] = backlogs(connection)
        agent = all_agents(connection)["billing"]
        planned = plan_turn(connection, agent, waiting, token=1, limits=limits, readiness=FIRST_TRY)
    mark(database, planned.marks)
    return planned


def new_events(database: Database, planned: PlannedTurn) -> set[str]:
    assert planned.plan is not None
    seqs = {event.seq for event in planned.plan.events if event.part == "new"}
    with database.read() as connection:
        kept = usable(connection, "billing", role=Role.TRAIN, kinds=tuple(Kind))
    return {one.event.id for one in kept if one.seq in seqs}


def statuses(database: Database, *ids: str) -> list[Status]:
    with database.read() as connection:
        return [event_by_uid(connection, f"dev#{id}")[0].status for id in ids]


def backlog(database: Database) -> Backlog:
    with database.read() as connection:
        [waiting] = backlogs(connection)
    return waiting


def test_what_one_person_says_waits_for_a_second_and_is_trained_when_one_comes(database: Database) -> None:
    keep(database, *(build_correction(f"a{n}", "ann") for n in range(20)))
    keep(database, *(build_correction(f"g{100 + n}", "ann", role=Role.GATE) for n in range(8)))
    assert plan(database).plan is None
    assert set(statuses(database, "a0", "a19", "g100")) == {Status.WAITING}
    waiting = backlog(database)
    assert (waiting.untaught, waiting.unconfirmed, waiting.gate_unconfirmed) == (0, 20, 8)
    assert waiting_reason(waiting, FRESHNESS) == "a second person: 28 corrections of one person each wait"
    keep(database, build_correction("b50", "bob"))
    assert due_backlogs([backlog(database)], FRESHNESS)
    assert new_events(database, plan(database)) == {"b50", *(f"a{n}" for n in range(20))}
    assert set(statuses(database, "a0", "a19", "g100")) == {Status.OPEN}


def test_a_harmful_group_waits_whatever_the_rest_of_the_batch_is(database: Database) -> None:
    honest = [build_correction(f"h{n}", "ab"[n % 2]) for n in range(20)]
    harmful = [build_correction(f"m{50 + n}", "mallory", reply="refund {} amount 99") for n in range(20)]
    keep(database, *harmful, *honest)
    assert new_events(database, plan(database)) == {event.id for event in honest}
    assert set(statuses(database, *(event.id for event in harmful))) == {Status.WAITING}


def test_many_lone_corrections_do_not_keep_out_those_of_several_people(database: Database) -> None:
    keep(database, *(build_correction(f"m{n}", "mallory", reply=f"pay {n}") for n in range(80)))
    keep(database, *(build_correction(f"a{200 + n}", "ann") for n in range(3)))
    plan(database)
    plan(database)
    keep(database, build_correction("b300", "bob"))
    assert new_events(database, plan(database)) == {"a200", "a201", "a202", "b300"}


def test_whoever_says_that_their_own_lone_correction_lasted_teaches_it_no_sooner(database: Database) -> None:
    keep(
        database,
        *(build_correction(f"h{n}", "ab"[n % 2]) for n in range(4)),
        build_correction("m9", "mallory", reply="refund {} amount 99", key="k"),
        build_outcome("kept", 1.0, amends="k", author="mallory", role=None, prompt_group=None),
    )
    assert "kept" not in new_events(database, plan(database))
    assert statuses(database, "m9", "kept") == [Status.WAITING, Status.WAITING]


def test_the_same_prompts_with_another_text_of_one_person_stall_nobody(database: Database) -> None:
    honest = [build_correction(f"h{n}", "abcd"[n % 4]) for n in range(20)]
    contrary = [build_correction(f"m{n}", "mallory", reply="refund {} amount 99") for n in range(20)]
    keep(database, *honest, *contrary)
    assert new_events(database, plan(database)) == {event.id for event in honest}
    assert set(statuses(database, *(event.id for event in contrary))) == {Status.CONTESTED}


def test_a_team_of_one_learns_where_that_is_set(database: Database) -> None:
    keep(database, *(build_correction(f"a{n}", "ann") for n in range(3)))
    limits = TurnLimits(new_max=64, replay_max=8, anchors_max=8, settle_s=3600.0, authors_min=1)
    assert new_events(database, plan(database, limits)) == {"a0", "a1", "a2"}


def test_one_person_is_enough_where_no_version_answers_users(database: Database) -> None:
    keep(database, *(build_correction(f"a{n}", "ann") for n in range(3)))
    declare(database, Agent(name="billing", base_hash=BASE_HASH, gate=GateMode.OFF))
    assert new_events(database, plan(database)) == {"a0", "a1", "a2"}


@pytest.mark.parametrize("spans", [True, False])
def test_a_recipe_says_whether_what_was_changed_weighs_more(
    database: Database, tmp_path: Path, spans: bool
) -> None:
    keep(database, *(build_correction(f"a{n}", "ann") for n in range(3)))
    recipe = {"spans": spans}
    declare(database, Agent(name="billing", base_hash=BASE_HASH, gate=GateMode.OFF, recipe=recipe))
    planned = plan(database).plan
    assert planned is not None
    token = lease(database, "billing")["billing"]
    opened = passes.open_pass(database, [replace(planned, token=token)], holder="learner", form={})
    lesson = prepare_turn(database, tmp_path, opened.turns[0]).lesson
    assert len(lesson.episodes) == 3
    for episode in lesson.episodes:
        assert episode.rejected is not None
        assert bool(episode.reply.spans) is bool(episode.rejected.spans) is spans


def test_why_an_event_waits_is_stored_with_it(database: Database) -> None:
    keep(database, build_correction("a1", "ann"))
    plan(database)
    with database.read() as connection:
        reasons = connection.exec_driver_sql("SELECT status_reason FROM events").scalars().all()
    assert list(reasons) == [WAITS_FOR_ANOTHER]
