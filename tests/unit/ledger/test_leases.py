"""One holder at a time, by the database's clock; what an old holder writes is refused."""

import threading
import time

from ledger import leases
from ledger.database import Database, now_s
from ledger.heartbeat import hold_leases


def acquire(database: Database, holder: str, *names: str, ttl_s: float = 10.0) -> dict[str, int]:
    return leases.acquire(database, names, holder=holder, ttl_s=ttl_s)


def test_a_leased_name_is_not_given_to_another(database: Database) -> None:
    assert acquire(database, "one", "a") == {"a": 1}
    assert acquire(database, "two", "a", "b") == {"b": 1}
    with database.read() as connection:
        assert leases.held_names(connection) == {"a": "one", "b": "two"}


def test_an_expired_lease_goes_to_the_next_with_a_larger_token(database: Database) -> None:
    acquire(database, "one", "a", ttl_s=0.05)
    time.sleep(0.06)
    assert acquire(database, "two", "a") == {"a": 2}
    assert leases.renew(database, {"a": 1}, ttl_s=1) == set()
    with database.read() as connection:
        assert not leases.holds(connection, "a", 1)
        assert leases.holds(connection, "a", 2)


def test_an_expired_lease_nobody_took_still_holds_and_can_be_renewed(database: Database) -> None:
    acquire(database, "one", "a", ttl_s=0.01)
    time.sleep(0.02)
    with database.read() as connection:
        assert leases.held_names(connection) == {}
        assert leases.holds(connection, "a", 1)
    assert leases.renew(database, {"a": 1}, ttl_s=5) == {"a"}
    assert acquire(database, "two", "a") == {}


def test_a_released_lease_is_free_at_once_and_its_token_never_returns(database: Database) -> None:
    token = acquire(database, "one", "a")
    leases.release(database, token)
    assert acquire(database, "two", "a") == {"a": 2}
    leases.release(database, token)  # the old holder's; it must not free the new one's
    assert acquire(database, "three", "a") == {}


def test_taking_ones_own_lease_again_fences_what_one_did_before(database: Database) -> None:
    acquire(database, "one", "a")
    assert acquire(database, "one", "a") == {"a": 2}
    assert leases.renew(database, {"a": 1}, ttl_s=1) == set()


def race(url: str, name: str) -> list[dict[str, int]]:
    """What six connections got that asked for one lease at the same moment."""
    taken: list[dict[str, int]] = []
    together = threading.Barrier(6)

    def ask(holder: str) -> None:
        database = Database(url)
        with database.read() as connection:
            now_s(connection)  # connected before the race
        together.wait()
        taken.append(leases.acquire(database, [name], holder=holder, ttl_s=10.0))
        database.close()

    threads = [threading.Thread(target=ask, args=(f"holder {place}",)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return taken


def test_of_many_who_ask_at_once_exactly_one_gets_it(url: str, database: Database) -> None:
    for name in ("a", "a", "b", "b"):  # never leased before, and free again
        taken = race(url, name)
        assert len(taken) == 6
        [tokens] = [tokens for tokens in taken if tokens]
        leases.release(database, tokens)


def test_a_heartbeat_keeps_a_lease_longer_than_it_lasts(database: Database) -> None:
    with hold_leases(database, ["a"], holder="one", ttl_s=2.0) as leased:
        time.sleep(3.0)
        leased.check()
        assert acquire(database, "two", "a") == {}
    assert acquire(database, "two", "a") == {"a": 2}


def test_a_heartbeat_notices_that_its_lease_is_gone(database: Database) -> None:
    with hold_leases(database, ["a"], holder="one", ttl_s=0.4) as leased:
        leases.release(database, leased.tokens)
        acquire(database, "two", "a")
        assert leased.lost.wait(timeout=5)
    with database.read() as connection:
        assert leases.held_names(connection) == {"a": "two"}


def test_nothing_is_held_when_nothing_is_free(database: Database) -> None:
    acquire(database, "two", "a")
    with hold_leases(database, ["a"], holder="one", ttl_s=0.4) as leased:
        assert not leased.tokens
        leased.check()
