"""A ledger for tests of the dashboard, with something of everything that it shows, and keys for its pages.

billing: two promoted versions, a refused one and a candidate that waits for a person; sql: a canary; coder:
on hold; legal: nothing yet. Two corrections contradict each other, one event was retracted, a record is dead.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.access.keys import create_key
from ledger.access.rights import Grant, Right
from ledger.database import Database
from ledger.events import Event, Kind, Reason, Role, Status
from ledger.learning import event_decisions, event_queries
from ledger.learning.agents import Agent, declare
from ledger.versions import holds, promotion, routing
from ledger.versions.decisions import BY_CANARY, Verdict
from ledger.versions.desired import Purpose, want
from ledger.versions.evidence import Answers, Evidence, Judgement, Pair
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import build_event, build_outcome, build_unusable, keep
from tests.unit.ledger.ledger_builder import BASE_HASH, build_ledger
from tests.unit.ledger.turn_builder import build_decision, build_version, refuse

PARITY = {"difference_nats": 0.0021, "allowed_nats": 0.05, "tokens": 96, "probes": 4, "same_base": True}
PAGES = {
    "agents": "/agents",
    "agent": "/agents/billing",
    "version": "/versions/billing@v4?answers=all",
    "event": "/event?uid=dev%23200",
    "events": "/events?agent=billing",
    "review": "/review",
    "rollouts": "/rollouts",
    "learner": "/learner",
    "intake": "/intake",
    "fleet": "/fleet",
    "playground": "/playground?agent=billing",
    "key": "/key",
    "refused": "/agents/nobody",
}
"""The address of each page, with something to show."""

REPLICAS = ("http://127.0.0.1:8001", "http://127.0.0.1:8002")


@dataclass(frozen=True)
class DashboardLedger:
    """The file of the ledger, and the text of each key by its name."""

    path: Path
    keys: dict[str, str]

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"


def build_dashboard_ledger(path: Path) -> DashboardLedger:
    """Write the ledger into a new file."""
    database = build_ledger(path)
    keys = fill_dashboard_ledger(database)
    database.close()
    return DashboardLedger(path=path, keys=keys)


def fill_dashboard_ledger(database: Database) -> dict[str, str]:
    """Store all of it in an empty ledger. Returns the text of each key by its name."""
    for name in ("billing", "coder", "legal", "sql"):
        declare(database, Agent(name=name, base_hash=BASE_HASH))
    declare(database, Agent(name="billing", base_hash=BASE_HASH, confirm=True, capture=True))
    _billing(database)
    _sql(database)
    _coder(database)
    _replicas(database)
    return {
        "lead": _key(database, "lead", Right.READ, Right.ACT, Right.TALK),
        "reader": _key(database, "reader", Right.READ),
        "sql-lead": _key(database, "sql-lead", Right.READ, Right.ACT, agents=frozenset({"sql"})),
    }


def build_correction(id: str, wanted: str | None = None, **changed: Any) -> Event:
    """A correction of an order's answer."""
    data = {
        "messages": [{"role": "user", "content": f"Cancel order {id}, please."}],
        "rejected": "Your order was dropped from the list.",
        "corrected": wanted or f"Order {id} is cancelled. You get a mail within the hour.",
        "comment": "cancelling is not dropping",
    }
    return build_event(id, data=data, **changed)


def build_gate_evidence(uids: list[str], won: int, **changed: Any) -> Evidence:
    """Evidence about these prompts, the first `won` of which the candidate answers as wanted."""
    gate = tuple(Pair(event=uid, before=0.25, after=1.0 if n < won else 0.25) for n, uid in enumerate(uids))
    answers = {
        uid: Answers(
            before="Your order was dropped from the list.",
            after=f"Order {uid.removeprefix('dev#')} is cancelled. You get a mail within the hour."
            if n < won
            else "Your order was dropped from our list.",
        )
        for n, uid in enumerate(uids)
    }
    suite = tuple(Pair(event=uid, before=1.0, after=1.0) for uid in changed.pop("suite", ()))
    judgement = Judgement(
        alpha_k=0.025, p=0.5**won, wins=won, losses=0, ties=len(uids) - won, suite=len(suite)
    )
    fields: dict[str, Any] = {
        "judgement": judgement,
        "gate": gate,
        "suite": suite,
        "answers": answers,
        "attempt": 1,
        "replica": REPLICAS[0],
        "parity": PARITY,
        "replicas": dict.fromkeys(REPLICAS, PARITY),
    }
    return Evidence(**{**fields, **changed})


def _billing(database: Database) -> None:
    gate = [build_correction(f"70{n}", author="bob", role=Role.GATE) for n in range(8)]
    liked = [build_event(f"ok{n}", kind=Kind.APPROVE, author="cas", role=Role.GATE) for n in range(3)]
    uids, suite = [event.uid for event in gate], [event.uid for event in liked]
    keep(database, *gate, *liked, *(build_correction(f"10{n}", author="ann") for n in range(6)))
    _promoted(database, "billing", build_gate_evidence(uids, 5, suite=suite))
    keep(database, *(build_correction(f"20{n}", author="bob" if n % 2 else "ann") for n in range(5)))
    _promoted(database, "billing", build_gate_evidence(uids, 7, suite=suite))
    keep(database, *(build_correction(f"30{n}", author="cas") for n in range(4)))
    reasons = ("harm: 2 of 3 prompts became worse",)
    worse = build_gate_evidence(uids, 4, reasons=reasons, suite=suite)
    refuse(database, build_version(database), evidence=worse)
    keep(database, build_correction("401", author="ann"), build_outcome("out1", -0.5, author="env"))
    candidate = build_version(database)
    _passed(database, candidate, build_gate_evidence(uids, 8, suite=suite))
    one = build_correction("500", "Order 500 is cancelled.", author="ann", prompt_group="of 500")
    other = build_correction("501", "Ask the customer first.", author="bob", prompt_group="of 500")
    other.data["messages"][0]["content"] = one.data["messages"][0]["content"]  # type: ignore[index]
    keep(database, one, other, build_correction("600", author="mallory"))
    with database.read() as connection:
        by_uid = {
            uid: event_queries.event_by_uid(connection, uid)[0] for uid in ("dev#500", "dev#501", "dev#600")
        }
    marks = {
        by_uid[uid].seq: (Status.CONTESTED, "people disagree about this prompt")
        for uid in ("dev#500", "dev#501")
    }
    event_queries.mark(database, marks)
    event_decisions.retract(database, by_uid["dev#600"], by="lead", reason="it was a test")
    keep(database, build_unusable(), build_unusable(Reason.UNKNOWN_AGENT))


def _sql(database: Database) -> None:
    gate = [build_correction(f"s7{n}", agent="sql", role=Role.GATE) for n in range(6)]
    keep(database, *gate, *(build_correction(f"s1{n}", agent="sql", author="dan") for n in range(3)))
    candidate = build_version(database, "sql")
    _passed(database, candidate, build_gate_evidence([event.uid for event in gate], 6))
    promotion.give_share(
        database, candidate, 0.25, by=BY_CANARY, evidence=Evidence(reasons=("its first step",))
    )


def _coder(database: Database) -> None:
    keep(database, build_correction("c1", agent="coder", author="eve"))
    holds.hold(database, "coder", by="lead", reason="a release is under way")


def _promoted(database: Database, agent: str, evidence: Evidence) -> Version:
    made = build_version(database, agent)
    promotion.promote(database, made, build_decision(made, Verdict.PROMOTE, evidence=evidence))
    return made


def _passed(database: Database, candidate: Version, evidence: Evidence) -> None:
    """The gate let it pass, and the replicas are to load it."""
    refuse(database, candidate, Verdict.CANARY, evidence=evidence)
    with database.write() as connection:
        want(connection, candidate, Purpose.CANARY)


def _replicas(database: Database) -> None:
    with database.read() as connection:
        models = tuple(sorted({row.version.model for row in _wanted(connection) if row.version is not None}))
    routing.record_replicas(
        database,
        [
            routing.ReplicaState(url=REPLICAS[0], in_rotation=True, base_name="base", models=models),
            routing.ReplicaState(
                url=REPLICAS[1],
                in_rotation=False,
                base_name="base",
                models=models[:1],
                note="parity: 0.2 nats",
            ),
        ],
    )


def _wanted(connection: Any) -> list[Any]:
    from ledger.versions.desired import wanted

    return wanted(connection)


def _key(database: Database, name: str, *rights: Right, agents: frozenset[str] | None = None) -> str:
    grant = Grant(name=name, rights=frozenset(rights), agents=agents)
    _, text = create_key(database, grant, by="test")
    return str(text.text)
