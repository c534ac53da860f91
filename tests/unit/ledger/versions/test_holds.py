"""Agents on hold: who put them there, until somebody resumes them."""

from ledger.database import Database
from ledger.versions import holds


def test_an_agent_is_on_hold_until_it_is_resumed(database: Database) -> None:
    assert holds.hold(database, "billing", by="ann", reason="month's end")
    assert not holds.hold(database, "billing", by="bob", reason="me too")
    with database.read() as connection:
        hold = holds.hold_of(connection, "billing")
        assert hold is not None
        assert (hold.by, hold.reason) == ("ann", "month's end")
        assert holds.hold_of(connection, "sql") is None
    assert holds.resume(database, "billing", by="bob")
    assert not holds.resume(database, "billing", by="bob")
    with database.read() as connection:
        assert holds.all_holds(connection) == {}
    assert holds.hold(database, "billing", by="ann", reason="again")
