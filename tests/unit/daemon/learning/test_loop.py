"""The learner on a real ledger and a real two-layer model: what is written, resumed, recorded and dropped."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from daemon.learning import loop
from daemon.learning.learner import STEP_S_MAX, Learner, LearnerOptions, Stopped
from daemon.learning.loop import learn, resume_pass, start_pass
from daemon.learning.pacing import Pacing
from daemon.learning.replay import replay
from daemon.learning.scheduler import Freshness, next_turn
from daemon.learning.turns.material import TurnLimits
from daemon.process.health import Health
from engine.lesson import Lesson, NotLearned
from engine.manifest import read_manifest
from engine.warm_engine import WarmEngine
from ledger import leases, schema
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.events import Event, Kind, Role, Status
from ledger.learning import agents, backlog, event_queries, passes, usage
from ledger.learning.retries import Remedy, Retry
from ledger.learning.turns import lease_name
from ledger.versions import decisions, lineage
from ledger.versions.evidence import Evidence
from tests.meters import metric_increases, metric_values
from tests.unit.engine import tiny_base
from tests.unit.ledger import turn_builder
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    build_event,
    build_interaction,
    build_retraction,
    keep,
)
from tests.unit.ledger.ledger_builder import build_ledger

RECIPE = {
    "rank": 4, "alpha": 8.0, "steps": 3, "steps_min": 3, "warmup_steps": 1, "learning_rate": 5e-3,
    "new_per_step": 4, "replay_per_step": 2, "anchors_per_step": 2,
}  # fmt: skip
OPTIONS = LearnerOptions(
    freshness=Freshness(
        events_min=4, age_s_max=3600.0, alpha=0.05, refusals_max=2, suite_min=0, settle_s=0.0, authors_min=1
    ),
    limits=TurnLimits(new_max=64, replay_max=8, anchors_max=8, settle_s=3600.0, authors_min=1),
    slots=4,
    gather_s=0.0,
    idle_s=0.01,
    lease_s=5.0,
)


class NoRoom:
    """An engine on a device that others have filled."""

    def __init__(self, engine: WarmEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def learn(self, lessons: Sequence[Lesson], **_: object) -> list[NotLearned]:
        return [NotLearned(agent=lesson.agent, reason="does not fit", again=True) for lesson in lessons]


class NothingNew(NoRoom):
    """An engine whose champions know everything already."""

    def learn(self, lessons: Sequence[Lesson], **_: object) -> list[NotLearned]:
        return [NotLearned(agent=lesson.agent, reason="known", tokens=321) for lesson in lessons]


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it, and nothing is tidied up."""


def nothing(_name: str) -> None:
    """No failpoint is armed."""


def killed_at(point: str, times: int = 1) -> Callable[[str], None]:
    left = [times]

    def reached(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    return reached


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> WarmEngine:
    base = tiny_base.build_base_directory(tmp_path_factory.mktemp("base"))
    return WarmEngine.load(base, slots=4, rank=4, threads=1, token_budget=512)


@pytest.fixture
def database(tmp_path: Path, engine: WarmEngine) -> Database:
    opened = build_ledger(tmp_path / "clorad.db")
    for name in ("billing", "sql"):
        agents.declare(opened, agents.Agent(name=name, base_hash=engine.base_hash, recipe=RECIPE))
    yield opened
    opened.close()


@pytest.fixture
def learner(database: Database, engine: WarmEngine, tmp_path: Path) -> Learner:
    return Learner(
        database=database,
        engine=engine,
        store=tmp_path / "store",
        holder="learner-1",
        options=OPTIONS,
        failpoint=nothing,
    )


def corrections(agent: str, count: int, *, role: Role = Role.TRAIN, prefix: str = "") -> list[Event]:
    return [
        build_event(
            f"{prefix}{agent}-{role.value}-{number}",
            agent=agent,
            role=role,
            data={
                "messages": [{"role": "user", "content": f"{prefix}{agent} asks {number}"}],
                "rejected": f"no {number}",
                "corrected": f"yes {number}",
            },
        )
        for number in range(count)
    ]


def make_due(database: Database, *names: str) -> None:
    for name in names:
        keep(database, *corrections(name, 6), *corrections(name, 8, role=Role.GATE))


def made(database: Database) -> dict[str, str]:
    """Content hash of every version, by agent and number."""
    with database.read() as connection:
        return {
            f"{name} v{version.number}": version.hash
            for name in ("billing", "sql")
            for version in lineage.versions_of(connection, name)
        }


def test_nothing_due_starts_nothing(learner: Learner) -> None:
    assert not start_pass(learner, threading.Event())


def test_a_learner_at_work_gives_a_sign_of_life_at_every_step(learner: Learner, database: Database) -> None:
    signs: list[str] = []

    class Watch(Health):
        def alive(self, name: str, *, age_s_max: float = 0.0) -> None:
            signs.append(name)
            assert age_s_max == STEP_S_MAX

    make_due(database, "billing")
    assert start_pass(replace(learner, health=Watch()), threading.Event())
    [name] = made(database)
    with database.read() as connection:
        [version] = lineage.versions_of(connection, name.partition(" ")[0])
    steps = read_manifest(learner.store / version.path).metrics.steps
    assert len(signs) >= steps > 1


def test_agents_that_are_due_learn_in_one_pass(learner: Learner, database: Database) -> None:
    make_due(database, "billing", "sql")
    assert start_pass(learner, threading.Event())
    with database.read() as connection:
        recorded = passes.read_pass(connection, 1)
        waiting = {state.agent: state for state in backlog.backlogs(connection)}
    assert {turn.plan.agent for turn in recorded.turns} == {"billing", "sql"}
    assert set(made(database)) == {"billing v1", "sql v1"}
    assert all(state.has_candidate for state in waiting.values())
    assert not start_pass(learner, threading.Event()), "a candidate without a verdict blocks the next turn"


def test_the_first_that_is_due_waits_for_others_to_share_its_pass(
    learner: Learner, database: Database
) -> None:
    now_s = [0.0]
    learner = replace(learner, options=replace(OPTIONS, gather_s=5.0), clock=lambda: now_s[0])
    make_due(database, "billing")
    assert not start_pass(learner, threading.Event())
    now_s[0] += 4.0
    make_due(database, "sql")
    assert not start_pass(learner, threading.Event())
    now_s[0] += 1.0
    assert start_pass(learner, threading.Event())
    assert set(made(database)) == {"billing v1", "sql v1"}


def test_no_turn_starts_where_its_version_could_not_be_written(learner: Learner, database: Database) -> None:
    make_due(database, "billing")
    shortage = ["1 MiB of disk free"]
    learner = replace(learner, disk_shortage=lambda: shortage[0])
    assert not start_pass(learner, threading.Event())
    assert made(database) == {}
    assert check(learner, "disk") == (False, "1 MiB of disk free")
    shortage[0] = ""
    assert start_pass(replace(learner, pacing=Pacing()), threading.Event())
    assert check(learner, "disk") == (True, "")


def check(learner: Learner, name: str) -> tuple[bool, str]:
    """What the learner's health port says of one thing that it needs."""
    state = learner.health.readiness()[1]["checks"][name]
    return state["ok"], state["why"]


@pytest.mark.parametrize(
    ("fault", "name", "reason"),
    [
        (LedgerUnavailable("locked"), "ledger", "learning is paused: LedgerUnavailable"),
        (PermissionError(13, "no"), "store", "learning is paused: PermissionError"),
    ],
)
def test_readiness_is_red_while_learning_is_paused(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, fault: Exception, name: str, reason: str
) -> None:
    stopping, states = threading.Event(), list[tuple[bool, str]]()

    def fails_once(*_: object) -> bool:
        if states:
            stopping.set()
            return False
        raise fault

    class Pauses(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            states.append(check(learner, name))
            return self.is_set()

    stopping = Pauses()
    monkeypatch.setattr(loop, "resume_pass", fails_once)
    learn(learner, stopping)
    assert states[0] == (False, reason)
    assert states[-1] == (True, "")


def test_waiting_for_others_begins_anew_for_every_pass(learner: Learner, database: Database) -> None:
    now_s = [0.0]
    learner = replace(learner, options=replace(OPTIONS, gather_s=5.0), clock=lambda: now_s[0])
    make_due(database, "billing")
    start_pass(learner, threading.Event())
    now_s[0] += 5.0
    assert start_pass(learner, threading.Event())
    make_due(database, "sql")
    now_s[0] += 60.0
    assert not start_pass(learner, threading.Event())
    now_s[0] += 5.0
    assert start_pass(learner, threading.Event())


def test_a_pass_that_does_not_fit_into_memory_is_repeated(
    learner: Learner, database: Database, engine: WarmEngine
) -> None:
    make_due(database, "billing")
    full = replace(learner, engine=NoRoom(engine))
    assert start_pass(full, threading.Event())
    assert made(database) == {}
    assert start_pass(learner, threading.Event()), "without news: nothing was wrong with the feedback"
    assert set(made(database)) == {"billing v2"}


def promote(database: Database, agent: str) -> None:
    with database.read() as connection:
        [candidate] = [candidate for candidate in decisions.undecided(connection) if candidate.agent == agent]
    turn_builder.promote(database, candidate)


def test_what_a_turn_was_trained_on_is_charged_in_the_ledger(learner: Learner, database: Database) -> None:
    make_due(database, "billing", "sql")
    start_pass(learner, threading.Event())
    with database.read() as connection:
        charged = {cost.agent: cost.tokens for cost in usage.recent_costs(connection)}
        made_of = {candidate.agent: candidate for candidate in decisions.undecided(connection)}
    for agent, version in made_of.items():
        assert charged[agent] == read_manifest(learner.store / version.path).metrics.tokens > 0


def test_a_turn_that_made_nothing_is_charged_for_what_it_cost(
    learner: Learner, database: Database, engine: WarmEngine
) -> None:
    make_due(database, "billing")
    assert start_pass(replace(learner, engine=NothingNew(engine)), threading.Event())
    with database.read() as connection:
        [turn] = usage.recent_costs(connection)
    assert turn.tokens == 321


def test_who_has_used_its_quota_learns_no_more_however_long_its_feedback_waits(
    learner: Learner, database: Database, engine: WarmEngine
) -> None:
    def quota(tokens: int | None) -> None:
        changed = agents.Agent(
            name="billing", base_hash=engine.base_hash, recipe=RECIPE, tokens_per_hour_max=tokens
        )
        agents.declare(database, changed)

    quota(1)
    make_due(database, "billing")
    assert start_pass(learner, threading.Event()), "nothing was used yet: one turn may overshoot"
    promote(database, "billing")
    keep(database, *corrections("billing", 6, prefix="more "))
    impatient = replace(
        OPTIONS,
        freshness=Freshness(
            events_min=4, age_s_max=0.0, alpha=0.05, refusals_max=2, suite_min=0, settle_s=0.0, authors_min=1
        ),
    )
    assert not start_pass(replace(learner, options=impatient, pacing=Pacing()), threading.Event())
    another = replace(learner, options=impatient, pacing=Pacing(), holder="learner-2")
    assert not start_pass(another, threading.Event()), "nor with another learner"
    quota(None)
    assert start_pass(replace(another, pacing=Pacing()), threading.Event())
    assert set(made(database)) == {"billing v1", "billing v2"}


def test_a_restarted_learner_goes_on_sharing_where_the_last_one_stopped(
    learner: Learner, database: Database
) -> None:
    """With one slot, and the oldest feedback, it would be the same agent's turn again."""
    one_slot = replace(learner, options=replace(OPTIONS, slots=1))
    make_due(database, "billing")
    assert start_pass(one_slot, threading.Event())
    promote(database, "billing")
    keep(database, *corrections("billing", 6, prefix="more "))
    keep(database, *corrections("billing", 8, role=Role.GATE, prefix="more "))
    make_due(database, "sql")
    assert start_pass(replace(one_slot, holder="learner-2", pacing=Pacing()), threading.Event())
    assert set(made(database)) == {"billing v1", "sql v1"}


def test_a_version_names_every_event_it_was_taught_with(learner: Learner, database: Database) -> None:
    make_due(database, "billing")
    start_pass(learner, threading.Event())
    with database.read() as connection:
        [candidate] = decisions.undecided(connection)
    manifest = read_manifest(learner.store / candidate.path)
    assert set(manifest.events["new"]) == {f"dev#billing-train-{number}" for number in range(6)}
    assert not any("gate" in uid for uids in manifest.events.values() for uid in uids)
    assert manifest.content_hash == candidate.hash
    assert manifest.version == candidate.name


@pytest.mark.parametrize(
    ("point", "times"),
    [("learner-training", 2), ("learner-renamed", 1), ("learner-renamed", 2), ("learner-recorded", 1)],
)
def test_a_killed_pass_is_resumed_as_recorded_and_gives_the_same_adapters(
    learner: Learner, database: Database, tmp_path: Path, point: str, times: int
) -> None:
    make_due(database, "billing", "sql")
    with pytest.raises(Killed):
        start_pass(replace(learner, failpoint=killed_at(point, times)), threading.Event())
    keep(database, *corrections("sql", 3, prefix="later "))  # news must not change what was written down
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE leases SET until_s = 0")  # the dead holder's run out

    assert resume_pass(replace(learner, holder="learner-2"), threading.Event())

    resumed = made(database)
    assert set(resumed) == {"billing v1", "sql v1"}
    with database.read() as connection:
        recorded = passes.read_pass(connection, 1)
        assert passes.unfinished_passes(connection) == []
    again = replay(database, learner.engine, learner.store, recorded)
    assert all(replayed.same for replayed in again), "an uninterrupted run gives the same hashes"
    assert {f"{replayed.agent} v{replayed.number}": replayed.again for replayed in again} == resumed


def test_a_living_learners_pass_is_left_alone(learner: Learner, database: Database) -> None:
    make_due(database, "billing")
    with pytest.raises(Killed):
        start_pass(replace(learner, failpoint=killed_at("learner-training")), threading.Event())
    leases.acquire(database, [lease_name("billing")], holder="learner-1", ttl_s=10.0)
    assert not resume_pass(replace(learner, holder="learner-2"), threading.Event())


def test_an_event_retracted_while_it_is_taught_voids_the_turn(learner: Learner, database: Database) -> None:
    make_due(database, "billing")

    def retract(name: str) -> None:
        if name == "learner-renamed":
            keep(database, build_retraction("r", "billing-train-0"))

    start_pass(replace(learner, failpoint=retract), threading.Event())
    assert made(database) == {}
    with database.read() as connection:
        [waiting] = [state for state in backlog.backlogs(connection) if state.agent == "billing"]
    assert (waiting.untaught, waiting.news) == (5, True), "the rest is due again at once"
    assert start_pass(learner, threading.Event())
    assert set(made(database)) == {"billing v2"}, "numbers are never used twice"


def test_a_learner_that_lost_its_lease_records_nothing(learner: Learner, database: Database) -> None:
    make_due(database, "billing")

    def usurp(name: str) -> None:
        if name == "learner-renamed":
            with database.write() as connection:
                connection.exec_driver_sql("UPDATE leases SET until_s = 0")
            leases.acquire(database, [lease_name("billing")], holder="another", ttl_s=10.0)

    start_pass(replace(learner, failpoint=usurp), threading.Event())
    assert made(database) == {}


def test_a_role_that_stops_leaves_the_pass_for_the_next_start(learner: Learner, database: Database) -> None:
    make_due(database, "billing")
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Stopped):
        start_pass(learner, stopping)
    assert resume_pass(learner, threading.Event())
    assert set(made(database)) == {"billing v1"}


def test_contradicting_corrections_are_settled_before_the_turn(learner: Learner, database: Database) -> None:
    make_due(database, "billing")
    same = {"messages": [{"role": "user", "content": "billing asks 0"}], "rejected": "no 0"}
    keep(database, build_event("newer", data={**same, "corrected": "perhaps 0"}))
    keep(database, build_event("bob", author="bob", data={**same, "corrected": "never 0"}))
    start_pass(learner, threading.Event())
    with database.read() as connection:
        standing = {
            uid: event_queries.event_by_uid(connection, f"dev#{uid}")[0].status
            for uid in ("billing-train-0", "newer", "bob", "billing-train-1")
        }
    assert standing == {
        "billing-train-0": Status.SUPERSEDED,
        "newer": Status.CONTESTED,
        "bob": Status.CONTESTED,
        "billing-train-1": Status.OPEN,
    }


def test_of_an_event_with_several_replies_one_that_is_trained_will_do(
    learner: Learner, database: Database
) -> None:
    make_due(database, "billing")
    asked = [{"role": "user", "content": "hello"}]
    long = {"role": "assistant", "content": "y" * 3000}
    turns_ = [{"role": "assistant", "content": "I take over"}, {"role": "user", "content": "go on"}, long]
    for name, spoken in (("partly", turns_), ("wholly", [long])):
        data = {"action": "takeover", "messages": asked, "turns": spoken}
        keep(database, build_event(name, kind=Kind.TAKEOVER, prompt_group=name, data=data))
    start_pass(learner, threading.Event())
    with database.read() as connection:
        partly, wholly = (
            event_queries.event_by_uid(connection, f"dev#{name}")[0] for name in ("partly", "wholly")
        )
    assert (partly.status, wholly.status) == (Status.OPEN, Status.BARREN)


def test_a_correction_that_was_reverted_after_it_was_taught_is_not_repeated(
    learner: Learner, database: Database
) -> None:
    keep(database, build_event("wrong", key="k", data=corrections("billing", 1)[0].data))
    make_due(database, "billing")
    start_pass(learner, threading.Event())
    with database.read() as connection:
        [made_first] = decisions.undecided(connection)
    turn_builder.promote(database, made_first)
    keep(
        database,
        build_event(
            "no", kind=Kind.OUTCOME, amends="k", prompt_group=None, data={"value": -1.0, "scope": "final"}
        ),
        *corrections("billing", 6, prefix="next "),
        *corrections("billing", 8, role=Role.GATE, prefix="next "),
    )
    start_pass(learner, threading.Event())
    with database.read() as connection:
        [made_next] = decisions.undecided(connection)
        [wrong] = event_queries.event_by_uid(connection, "dev#wrong")
    repeated = read_manifest(learner.store / made_next.path).events["replay"]
    assert repeated
    assert "dev#wrong" not in repeated
    assert wrong.status is Status.BARREN


def test_a_correction_that_arrives_after_its_revert_is_not_taught(
    learner: Learner, database: Database
) -> None:
    data = {"value": -1.0, "scope": "final", "messages": [{"role": "user", "content": "ask"}], "said": "no"}
    keep(database, build_event("no", kind=Kind.OUTCOME, amends="k", data=data))
    make_due(database, "billing")
    with database.write() as connection:  # it was looked at in a turn of its own, and teaches nothing
        the_revert = update(schema.events).where(schema.events.c.id == "no")
        connection.execute(the_revert.values(status=Status.BARREN.value))
    keep(database, build_event("wrong", key="k", data=corrections("billing", 1)[0].data))
    start_pass(learner, threading.Event())
    with database.read() as connection:
        [made] = decisions.undecided(connection)
        [wrong] = event_queries.event_by_uid(connection, "dev#wrong")
    assert "dev#wrong" not in read_manifest(learner.store / made.path).events["new"]
    assert wrong.status is Status.BARREN


def test_an_agent_whose_champion_is_damaged_keeps_no_other_from_learning(
    learner: Learner, database: Database
) -> None:
    make_due(database, "billing")
    start_pass(learner, threading.Event())
    with database.read() as connection:
        [champion] = decisions.undecided(connection)
    turn_builder.promote(database, champion)
    (learner.store / champion.path / "adapter_model.safetensors").write_bytes(b"torn")
    learner.engine._slots._parsed.clear()
    for name in ("billing", "sql"):
        keep(database, *corrections(name, 6, prefix="next "))
        keep(database, *corrections(name, 8, role=Role.GATE, prefix="next "))
    assert start_pass(learner, threading.Event())
    with database.read() as connection:
        assert [candidate.agent for candidate in decisions.undecided(connection)] == ["sql"]
        [turn] = [turn for turn in passes.read_pass(connection, 2).turns if turn.plan.agent == "billing"]
        reason = connection.scalar(select(schema.turns.c.reason).where(schema.turns.c.id == turn.id))
    assert reason == f"{champion.name} cannot be read: SafetensorError"


def test_interventions_without_a_record_of_what_was_sampled_teach_nothing_and_say_so(
    learner: Learner, database: Database
) -> None:
    make_due(database, "billing")
    texts = {"messages": [{"role": "user", "content": "hello"}], "said": "bye"}
    keep(database, build_event("blame", kind=Kind.REJECT, data={"action": "reject", **texts}))
    start_pass(learner, threading.Event())
    with database.read() as connection:
        [kept] = event_queries.event_by_uid(connection, "dev#blame")
    assert kept.status is Status.BARREN


class Short(NoRoom):
    """An engine that a step did not fit into: from then on its micro-batches are smaller."""

    shrunk = False

    @property
    def token_budget(self) -> int:
        return 256 if self.shrunk else 512

    def learn(self, lessons: Sequence[Lesson], **_: object) -> list[NotLearned]:
        self.shrunk = True
        return super().learn(lessons)


COUNTED = ("turns", "tokens", "events", "steps", "memory.shortages", "pass.agents", "passes.abandoned")


def counted_by(work: Callable[[], object]) -> dict[str, dict[object, float]]:
    """What the learner's meters counted meanwhile, by the value of the one label or none."""
    before = {name: metric_values(f"clorad.learner.{name}") for name in COUNTED}
    work()
    counted = {name: metric_increases(before[name], f"clorad.learner.{name}") for name in COUNTED}
    return {
        name: {(labels[0][1] if labels else ""): value for labels, value in values.items()}
        for name, values in counted.items()
        if values
    }


def test_what_was_taught_is_counted(learner: Learner, database: Database) -> None:
    make_due(database, "billing", "sql")
    counted = counted_by(lambda: start_pass(learner, threading.Event()))
    with database.read() as connection:
        tokens = sum(cost.tokens for cost in usage.recent_costs(connection))
    assert counted == {
        "turns": {"made": 2},
        "tokens": {"": tokens},
        "events": {"trained": 12},
        "steps": {"taken": 6},
        "pass.agents": {"": 1},
    }


def test_what_came_to_nothing_is_counted_by_how(
    learner: Learner, database: Database, engine: WarmEngine
) -> None:
    make_due(database, "billing")
    short = replace(learner, engine=Short(engine))
    assert counted_by(lambda: start_pass(short, threading.Event())) == {
        "turns": {"void": 1},
        "memory.shortages": {"": 1},
        "pass.agents": {"": 1},
    }
    vain = replace(learner, engine=NothingNew(engine))
    assert counted_by(lambda: start_pass(vain, threading.Event())) == {
        "turns": {"dropped": 1},
        "tokens": {"": 321},
        "pass.agents": {"": 1},
    }


def refuse_candidate(database: Database, reason: str) -> lineage.Version:
    """The gate refuses the agent's candidate."""
    with database.read() as connection:
        [candidate] = decisions.undecided(connection)
    turn_builder.refuse(database, candidate, evidence=Evidence(reasons=(reason,)))
    return candidate


def recipe_of(database: Database, number: int) -> tuple[int, int, Retry | None]:
    """Steps at most, anchors of a step, and the retry of the turn that made a version."""
    with database.read() as connection:
        recorded = passes.read_pass(connection, number)
    [turn] = recorded.turns
    return turn.plan.recipe["steps"], turn.plan.recipe["anchors_per_step"], turn.plan.retry


def test_after_a_refusal_another_try_comes_by_itself_with_a_remedy_for_the_cause(
    learner: Learner, database: Database
) -> None:
    keep(database, *corrections("billing", 6), *corrections("billing", 12, role=Role.GATE))
    patient = replace(OPTIONS, freshness=replace(OPTIONS.freshness, refusals_max=3))
    bold = replace(learner, options=patient)
    assert start_pass(bold, threading.Event())
    refuse_candidate(database, "not better: 0 wins, 0 losses, 12 wrong as before, p = 1.0000 > 0.0250")
    assert start_pass(replace(bold, pacing=Pacing()), threading.Event()), "nothing new is needed"
    refuse_candidate(database, "harm: 8 of 13 prompts became worse, 0 better")
    assert start_pass(replace(bold, pacing=Pacing()), threading.Event())
    refuse_candidate(database, "harm: 8 of 13 prompts became worse, 0 better")
    with database.read() as connection:
        [state] = [state for state in backlog.backlogs(connection) if state.agent == "billing"]
    assert next_turn(state, bold.options.freshness).divides is not None, "each remedy once"
    assert [recipe_of(database, number) for number in (1, 2, 3)] == [
        (3, 2, None),
        (6, 2, Retry(after=1, remedies=(Remedy.LONGER,))),
        (6, 4, Retry(after=2, remedies=(Remedy.LONGER, Remedy.ANCHORS))),
    ]


def test_a_killed_learner_leaves_the_same_retry_to_the_next(learner: Learner, database: Database) -> None:
    keep(database, *corrections("billing", 6), *corrections("billing", 12, role=Role.GATE))
    assert start_pass(learner, threading.Event())
    refuse_candidate(database, "harm: 8 of 13 prompts became worse, 0 better")
    with pytest.raises(Killed):
        start_pass(
            replace(learner, pacing=Pacing(), failpoint=killed_at("learner-training")), threading.Event()
        )
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE leases SET until_s = 0")
    assert resume_pass(replace(learner, holder="learner-2"), threading.Event())
    assert recipe_of(database, 2) == (3, 4, Retry(after=1, remedies=(Remedy.ANCHORS,)))
    with database.read() as connection:
        again = replay(database, learner.engine, learner.store, passes.read_pass(connection, 2))
    assert all(replayed.same for replayed in again)


def approvals(agent: str, count: int, *, role: Role) -> list[Event]:
    return [
        build_event(
            f"{agent} likes {role.value} {number}",
            agent=agent,
            role=role,
            kind=Kind.APPROVE,
            data={"messages": [{"role": "user", "content": f"{agent} greets {number}"}], "said": "hello"},
        )
        for number in range(count)
    ]


def test_an_agent_whose_traffic_is_captured_waits_for_replies_that_must_stay_as_they_are(
    learner: Learner, database: Database, engine: WarmEngine
) -> None:
    billing = agents.Agent(name="billing", base_hash=engine.base_hash, recipe=RECIPE, capture=True)
    agents.declare(database, billing)
    strict = replace(OPTIONS.freshness, suite_min=2)
    waiting = replace(learner, options=replace(OPTIONS, freshness=strict))
    make_due(database, "billing")
    assert not start_pass(waiting, threading.Event())
    keep(database, *approvals("billing", 1, role=Role.TRAIN))
    assert not start_pass(replace(waiting, pacing=Pacing()), threading.Event()), "no suite yet"
    keep(database, *approvals("billing", 2, role=Role.GATE))
    assert start_pass(replace(waiting, pacing=Pacing()), threading.Event())


def test_it_waits_no_longer_than_its_feedback_may(
    learner: Learner, database: Database, engine: WarmEngine
) -> None:
    billing = agents.Agent(name="billing", base_hash=engine.base_hash, recipe=RECIPE, capture=True)
    agents.declare(database, billing)
    overdue = replace(OPTIONS.freshness, suite_min=2, age_s_max=1e-6)
    make_due(database, "billing")
    assert start_pass(replace(learner, options=replace(OPTIONS, freshness=overdue)), threading.Event())


def test_replies_to_which_a_correction_applies_are_no_suite_and_no_turn_is_trained_in_vain(
    learner: Learner, database: Database, engine: WarmEngine
) -> None:
    """They were said, and nobody objected, but their prompts are as like the corrected ones as those are."""
    billing = agents.Agent(name="billing", base_hash=engine.base_hash, recipe=RECIPE, capture=True)
    agents.declare(database, billing)
    make_due(database, "billing")
    alike = [
        build_interaction(
            f"i{number}",
            messages=({"role": "user", "content": f"billing asks {100 + number}"},),
            completion="no 7",
            role=role,
            prompt_group=f"group {number}",
        )
        for number, role in enumerate((Role.TRAIN, Role.GATE, Role.GATE, Role.GATE))
    ]
    keep(database, *alike, partition=INTERACTIONS)
    strict = replace(learner, options=replace(OPTIONS, freshness=replace(OPTIONS.freshness, suite_min=2)))
    assert start_pass(strict, threading.Event())
    with database.read() as connection:
        [candidate] = decisions.undecided(connection)
    reason = "no suite: 0 prompts show that nothing else changed, 2 have to"
    turn_builder.refuse(database, candidate, decisions.Verdict.ABSTAIN, evidence=Evidence(reasons=(reason,)))
    assert not start_pass(replace(strict, pacing=Pacing()), threading.Event())


def test_after_an_abstention_for_want_of_a_suite_the_turn_is_repeated_once_there_is_one(
    learner: Learner, database: Database
) -> None:
    strict = replace(learner, options=replace(OPTIONS, freshness=replace(OPTIONS.freshness, suite_min=2)))
    make_due(database, "billing")
    assert start_pass(strict, threading.Event())
    with database.read() as connection:
        [candidate] = decisions.undecided(connection)
    reason = "no suite: 0 prompts show that nothing else changed, 2 have to"
    turn_builder.refuse(database, candidate, decisions.Verdict.ABSTAIN, evidence=Evidence(reasons=(reason,)))
    assert not start_pass(replace(strict, pacing=Pacing()), threading.Event())
    keep(database, *approvals("billing", 2, role=Role.GATE))
    assert start_pass(replace(strict, pacing=Pacing()), threading.Event())
    assert set(made(database)) == {"billing v1", "billing v2"}
