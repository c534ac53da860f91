"""The state of all agents is each agent's own, read in as many statements for many agents as for few."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Engine, event

from daemon.commands.documents.status_document import StatusDocument, read_status
from daemon.learning.scheduler import freshness_of, replies_of
from daemon.settings import Settings
from ledger.database import Connection, Database
from ledger.events import Kind, Role
from ledger.learning.agents import Agent, declare
from ledger.learning.event_queries import usable
from ledger.learning.judged import champions_judged_apart, judged_apart
from ledger.learning.silent_replies import StayingReplies, silent_replies
from ledger.reports.overview import overview
from ledger.versions import holds, promotion
from ledger.versions.decisions import Verdict, decisions_of, last_verdict
from ledger.versions.desired import Purpose, champion, want
from ledger.versions.evidence import Circumstances, Evidence, Pair
from ledger.versions.lineage import Version, version
from ledger.versions.looks import keep as keep_champion
from ledger.versions.looks import serving_champions
from tests.unit.ledger.event_builder import INTERACTIONS, build_event, build_interaction, build_outcome, keep
from tests.unit.ledger.ledger_builder import BASE_HASH
from tests.unit.ledger.turn_builder import JUDGEMENT, build_decision, build_version, open_pass, refuse

ENOUGH = 5
KINDS = ("champion", "captures", "person", "held", "apart", "no-suite", "learning", "new")


def build_agents(database: Database, copies: range) -> None:
    """An agent of each of `KINDS` for each of these numbers."""
    for number in copies:
        for kind in KINDS:
            agent = f"{kind}-{number}"
            declare(
                database,
                Agent(name=agent, base_hash=BASE_HASH, capture=kind == "captures", confirm=kind == "person"),
            )
            if kind != "new":
                keep(database, *(build_event(f"{agent}-{n}", agent=agent, author=f"p{n}") for n in range(3)))
                _tell(database, kind, agent)


def _tell(database: Database, kind: str, agent: str) -> None:
    if kind == "champion":
        _promote(database, build_version(database, agent), suite=(Pair(event="x", before=1.0, after=1.0),))
        _say(database, agent, "later", Role.TRAIN)
        _say(database, agent, "held-out", Role.GATE)
        made = _promote(database, build_version(database, agent), under=Circumstances(suite=4, template="a"))
        for template in ("a", "b"):
            keep_champion(
                database, made, Evidence(judgement=JUDGEMENT, under=Circumstances(template=template))
            )
    elif kind == "captures":
        made = _promote(database, build_version(database, agent))
        names = [f"{agent}-r{n}" for n in range(2 * ENOUGH)]
        for n, name in enumerate(names):
            keep(
                database,
                build_interaction(
                    name,
                    agent=agent,
                    conversation=f"{agent}-c{n // 2}",
                    version=("v0", made.name, "v9-other")[n % 3],
                    role=Role.GATE if n % 2 else Role.TRAIN,
                ),
                partition=INTERACTIONS,
            )
        _say(database, agent, "objects", Role.TRAIN, interaction=names[0])
        for n in range(2):
            _say(database, agent, f"ok{n}", Role.GATE, kind=Kind.APPROVE, key=f"{agent}-k{n}")
        keep(database, build_outcome(f"{agent}-undone", -1.0, agent=agent, amends=f"{agent}-k0"))
    elif kind == "person":
        made = build_version(database, agent)
        refuse(database, made, Verdict.CANARY, evidence=Evidence(judgement=JUDGEMENT))
        with database.write() as connection:
            want(connection, made, Purpose.CANARY)
    elif kind == "held":
        holds.hold(database, agent, by="lead", reason="a release")
        refuse(database, build_version(database, agent), evidence=Evidence(reasons=("harm: 4 of 48",)))
    elif kind == "apart":
        _say(database, agent, "g1", Role.GATE)
        _promote(database, build_version(database, agent, judged_seq=0), gate=_pair(f"dev#{agent}-g1"))
        _say(database, agent, "g2", Role.GATE)
        _say(database, agent, "t2", Role.TRAIN)
        _promote(database, build_version(database, agent, judged_seq=0), gate=_pair(f"dev#{agent}-g2"))
    elif kind == "no-suite":
        abstained = Evidence(reasons=("no suite: 0 prompts show that nothing else changed, 2 have to",))
        refuse(database, build_version(database, agent), Verdict.ABSTAIN, evidence=abstained)
        _say(database, agent, "more", Role.TRAIN)
    elif kind == "learning":
        open_pass(database, agent)


def _pair(uid: str) -> tuple[Pair, ...]:
    return (Pair(event=uid, before=0.0, after=1.0),)


def _say(
    database: Database, agent: str, name: str, role: Role, kind: Kind = Kind.CORRECTION, **changed: str
) -> None:
    keep(database, build_event(f"{agent}-{name}", agent=agent, role=role, kind=kind, author="bob", **changed))


def _promote(database: Database, made: Version, **evidence: object) -> Version:
    decision = build_decision(
        made,
        Verdict.PROMOTE,
        evidence=Evidence(judgement=JUDGEMENT, **evidence),  # type: ignore[arg-type]
    )
    promotion.promote(database, made, decision)
    return made


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that any ledger gets meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(url)) as opened:
        build_agents(opened, range(1))
        yield opened


def read(database: Database) -> StatusDocument:
    return read_status(Settings(ledger={"url": database.url}), database)


def test_many_agents_take_as_many_statements_as_few_and_copies_have_the_same_state(
    database: Database,
) -> None:
    with counted() as few:
        read(database)
    build_agents(database, range(1, 4))
    with counted() as many:
        document = read(database)
    assert len(many) == len(few)
    agents = document.to_json(ends={}, roles={})["agents"]
    for kind in KINDS:
        states = [_without_moments(agents[f"{kind}-{number}"], f"{kind}-{number}") for number in range(4)]
        assert states == states[:1] * 4


def _without_moments(agent: object, name: str) -> object:
    """The state without the agent's name, times, hashes, row numbers and who has its lease."""
    if isinstance(agent, dict):
        left_out = {
            "since_s",
            "decided_s",
            "opened_s",
            "oldest_age_s",
            "id",
            "pass",
            "quota_wait_s",
            "holder",
        }
        return {key: _without_moments(value, name) for key, value in agent.items() if key not in left_out}
    if isinstance(agent, list):
        return [_without_moments(value, name) for value in agent]
    if isinstance(agent, str):
        return agent.replace(name, "NAME").partition("-0000")[0]
    return agent


def test_every_agent_has_the_replies_that_its_own_lists_have(database: Database) -> None:
    freshness = freshness_of(
        Settings(ledger={"url": database.url}, gate={"suite_min": ENOUGH}, learning={"settle_s": 1.0})
    )
    with database.read() as connection:
        backlogs = [agent.backlog for agent in overview(connection).agents]
        replies = replies_of(connection, backlogs, freshness)
        for backlog in backlogs:
            alone = replies_of(connection, [backlog], freshness)
            assert replies[backlog.agent] == alone[backlog.agent] == listed_replies(connection, backlog.agent)


def listed_replies(connection: Connection, agent: str) -> StayingReplies:
    """The lengths of the lists that a turn and a suite are made of."""
    lengths = {}
    for role in (Role.TRAIN, Role.GATE):
        number = champion(connection, agent)
        silent = silent_replies(connection, agent, champion=number, role=role, settle_s=1.0)
        approved = usable(connection, agent, role=role, kinds=(Kind.APPROVE,))
        lengths[role] = min(ENOUGH, len(silent) + len(approved))
    return StayingReplies(anchors=lengths[Role.TRAIN], suite=lengths[Role.GATE])


def test_every_champion_is_known_as_its_decisions_say(database: Database) -> None:
    with database.read() as connection:
        champions = {own.version.agent: own for own in serving_champions(connection)}
        assert set(champions) == {"champion-0", "captures-0", "apart-0"}
        for agent, own in champions.items():
            decided = decisions_of(connection, agent, own.version.number)
            promoted = decided[0]
            assert promoted.verdict is Verdict.PROMOTE
            looks = [look.evidence for look in decided[1:]]
            first = promoted.evidence.under or Circumstances(suite=len(promoted.evidence.suite))
            under = first
            for look in looks:
                under = under.updated(look.under or Circumstances())
            assert (own.looks, own.under, own.promoted_s) == (len(looks), under, promoted.decided_s)
            assert own.predecessor == version(connection, agent, own.version.parent)
        assert champions["champion-0"].has_other_template


def test_every_last_verdict_is_the_last_decision(database: Database) -> None:
    with database.read() as connection:
        for agent in overview(connection).agents:
            last = last_verdict(
                [row for row in decisions_of(connection, agent.name) if row.verdict is not Verdict.INITIAL]
            )
            shown = (
                None if agent.last is None else (agent.last.verdict, agent.last.reasons, agent.last.judgement)
            )
            if agent.name == "champion-0":  # the last of all is to keep it
                assert shown == (Verdict.KEEP, (), JUDGEMENT)
            else:
                assert shown == (
                    None if last is None else (last.verdict, last.evidence.reasons, last.evidence.judgement)
                )


def test_the_corrections_that_judged_every_champion_apart_are_those_of_each(database: Database) -> None:
    with database.read() as connection:
        of_all = champions_judged_apart(connection)
        assert of_all == {"apart-0": frozenset({"dev#apart-0-g1", "dev#apart-0-g2"})}
        for agent in overview(connection).agents:
            alone = judged_apart(connection, agent.name, champion(connection, agent.name))
            assert alone == of_all.get(agent.name, frozenset())
