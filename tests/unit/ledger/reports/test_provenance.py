"""For any version, the exact events that taught it, and the list of an agent's versions."""

from ledger.database import Database
from ledger.events import Role
from ledger.reports.provenance import provenance
from ledger.reports.version_list import version_list
from ledger.versions import promotion
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Answers, Evidence, Pair
from ledger.versions.lineage import Version
from tests.unit.ledger.event_builder import (
    build_event,
    keep,
)
from tests.unit.ledger.turn_builder import (
    JUDGEMENT,
    build_decision,
    build_evidence,
    build_version,
    refuse,
)


def evidence(*reasons: str) -> Evidence:
    return build_evidence(
        reasons=reasons,
        gate=(Pair(event="dev#g1", before=0.0, after=1.0), Pair(event="dev#g2", before=1.0, after=1.0)),
        suite=(Pair(event="dev#1", before=1.0, after=0.0, again=(1.0, 1.0)),),
        answers={"dev#g1": Answers(before="drop it", after="delete it")},
    )


def promoted(database: Database) -> Version:
    made = build_version(database)
    promotion.promote(database, made, build_decision(made, Verdict.PROMOTE, evidence=evidence()))
    return made


class TestProvenance:
    def test_a_version_names_its_events_people_and_verdict(self, database: Database) -> None:
        keep(
            database,
            build_event("1"),
            build_event("2", author="bob"),
            build_event("3", author="bob"),
            build_event("g1", role=Role.GATE),
        )
        made = promoted(database)
        with database.read() as connection:
            origin = provenance(connection, "billing", 1)
            assert provenance(connection, "billing", 2) is None
        assert origin is not None
        assert [taught.kept.event.id for taught in origin.taught] == ["1", "2", "3"]
        assert list(origin.authors.items()) == [("bob", 2), ("ann", 1)]
        assert (origin.version, origin.parent_name, origin.ancestors) == (made, "v0", ("v0",))
        assert (origin.serving, origin.withdrawn_with_it) == (True, ())
        assert [decision.verdict for decision in origin.decisions] == [Verdict.PROMOTE]
        assert [(example.uid, example.suite, example.after_text) for example in origin.examples] == [
            ("dev#g1", False, "delete it"),
            ("dev#1", True, None),
        ]

    def test_undoing_an_old_version_takes_its_heirs_with_it(self, database: Database) -> None:
        names = []
        for id in "123":
            keep(database, build_event(id))
            names.append(promoted(database).name)
        with database.read() as connection:
            origin = provenance(connection, "billing", 2)
        assert origin is not None
        assert origin.withdrawn_with_it == (names[2],)
        assert origin.ancestors == (names[0], "v0")

    def test_versions_are_listed_with_what_decided_them(self, database: Database) -> None:
        keep(database, build_event("1"), build_event("2", author="bob"))
        refuse(database, build_version(database), evidence=evidence("harm"))
        keep(database, build_event("3"))
        promoted(database)
        with database.read() as connection:
            newest, oldest = version_list(connection, "billing")
            assert version_list(connection, "nobody") == []
        assert (newest.version.number, newest.verdict, newest.events, newest.serving) == (
            2,
            Verdict.PROMOTE,
            3,
            True,
        )
        assert (oldest.verdict, oldest.by, oldest.reasons, oldest.authors) == (
            Verdict.REFUSE,
            "gate",
            ("harm",),
            2,
        )
        assert newest.judgement == JUDGEMENT
        assert (oldest.serving, oldest.in_lineage) == (False, False)
