"""Keys in the ledger: made, replaced, revoked; a hash is all that is stored."""

from typing import Any

import pytest
from sqlalchemy import select, update

from ledger.access.keys import (
    AccessKey,
    KeyRefused,
    all_keys,
    create_key,
    keys_by_id,
    revoke_keys,
    rotate_key,
)
from ledger.access.rights import Grant, Right
from ledger.database import Database, now_s
from ledger.schema import access_keys
from ledger.versions.desired import generation


def stored(database: Database, key_id: str) -> AccessKey:
    with database.read() as connection:
        return keys_by_id(connection)[key_id]


def read_generation(database: Database) -> int:
    with database.read() as connection:
        return generation(connection)


def test_a_key_is_stored_as_its_hash_with_what_it_allows(database: Database) -> None:
    grant = Grant(
        name="ann",
        agents=frozenset({"billing"}),
        rights=frozenset({Right.TALK, Right.JUDGE}),
        concurrency_max=4,
        requests_per_minute_max=60,
    )
    key, text = create_key(database, grant, by="ops", lifetime_s=3600.0)
    assert stored(database, key.id) == key
    assert (key.id, key.digest, key.grant, key.created_by) == (text.id, text.digest, grant, "ops")
    assert key.expires_s == key.created_s + 3600.0
    with database.read() as connection:
        row = connection.execute(select(access_keys)).one()
    assert text.text.rpartition("_")[2] not in str(tuple(row))


def test_a_key_without_limits_opens_every_agent_for_ever(database: Database) -> None:
    key, _ = create_key(database, Grant(name="ann"), by="ops")
    kept = stored(database, key.id)
    assert (kept.grant.agents, kept.expires_s) == (None, None)
    assert kept.grant.opens("declared tomorrow")
    assert kept.is_live(kept.created_s + 1e9)
    with database.read() as connection:
        assert connection.scalar(select(access_keys.c.id).where(access_keys.c.agents.is_(None))) == key.id


def test_a_second_key_of_a_name_must_be_meant(database: Database) -> None:
    key, _ = create_key(database, Grant(name="ann"), by="ops")
    with pytest.raises(KeyRefused, match="ann has a key"):
        create_key(database, Grant(name="ann"), by="ops")
    create_key(database, Grant(name="ann"), by="ops", another=True)
    revoke_keys(database, name="ann")
    again, _ = create_key(database, Grant(name="ann"), by="ops")
    assert again.id != key.id


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": "ann smith"}, "must match"),
        ({"name": ""}, "must match"),
        ({"name": "ann\n"}, "must match"),
        ({"agents": frozenset({"billing", "nobody"})}, "no agent nobody"),
        ({"rights": frozenset[Right]()}, "opens nothing"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(database: Database, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(KeyRefused, match=why):
        create_key(database, Grant(**{"name": "ann", **changed}), by="ops")
    with database.read() as connection:
        assert all_keys(connection) == []


def test_a_rotated_key_lives_on_for_a_stated_time(database: Database) -> None:
    grant = Grant(name="ann", agents=frozenset({"sql"}), concurrency_max=2)
    old, _ = create_key(database, grant, by="ops", lifetime_s=1000.0)
    new, text = rotate_key(database, old.id, by="bob", overlap_s=60.0)
    before = stored(database, old.id)
    assert before.expires_s is not None
    assert before.expires_s == pytest.approx(new.created_s + 60.0, abs=5.0)
    assert before.is_live(new.created_s + 30.0)
    assert not before.is_live(new.created_s + 90.0)
    assert (new.grant, new.replaces, new.created_by, new.id) == (grant, old.id, "bob", text.id)
    assert new.expires_s == pytest.approx(new.created_s + 1000.0, abs=1e-3)


def test_rotating_never_lengthens_the_life_of_the_old_key(database: Database) -> None:
    old, _ = create_key(database, Grant(name="ann"), by="ops", lifetime_s=10.0)
    rotate_key(database, old.id, by="ops", overlap_s=3600.0)
    assert stored(database, old.id).expires_s == old.expires_s
    other, _ = create_key(database, Grant(name="bob"), by="ops")
    new, _ = rotate_key(database, other.id, by="ops", overlap_s=0.0)
    assert not stored(database, other.id).is_live(new.created_s)


def test_a_revoked_key_is_closed_for_good_and_has_no_successor(database: Database) -> None:
    key, _ = create_key(database, Grant(name="ann"), by="ops")
    [revoked] = revoke_keys(database, key_id=key.id)
    kept = stored(database, key.id)
    assert kept == revoked
    assert not kept.is_live(kept.created_s)
    assert revoke_keys(database, key_id=key.id) == []
    assert stored(database, key.id) == kept, "the moment of the first revocation stays"
    with pytest.raises(KeyRefused, match="was revoked"):
        rotate_key(database, key.id, by="ops", overlap_s=60.0)


def test_all_keys_of_a_name_are_revoked_and_no_others(database: Database) -> None:
    ann = [create_key(database, Grant(name="ann"), by="ops", another=True)[0].id for _ in range(2)]
    bob, _ = create_key(database, Grant(name="bob"), by="ops")
    assert {key.id for key in revoke_keys(database, name="ann")} == set(ann)
    with database.read() as connection:
        now = now_s(connection)
        assert [key.id for key in all_keys(connection) if key.is_live(now)] == [bob.id]


def test_an_unknown_key_or_name_is_said(database: Database) -> None:
    for refused in (
        lambda: revoke_keys(database, key_id="0123456789ab"),
        lambda: revoke_keys(database, name="nobody"),
        lambda: rotate_key(database, "0123456789ab", by="ops", overlap_s=1.0),
    ):
        with pytest.raises(KeyRefused, match="no key"):
            refused()


def test_every_change_makes_gateways_read_the_keys_again(database: Database) -> None:
    seen = [read_generation(database)]
    key, _ = create_key(database, Grant(name="ann"), by="ops")
    seen.append(read_generation(database))
    new, _ = rotate_key(database, key.id, by="ops", overlap_s=60.0)
    seen.append(read_generation(database))
    revoke_keys(database, key_id=new.id)
    seen.append(read_generation(database))
    assert seen == sorted(set(seen))


def test_an_expired_key_may_be_rotated(database: Database) -> None:
    key, _ = create_key(database, Grant(name="ann"), by="ops", lifetime_s=100.0)
    with database.write() as connection:
        past = {"created_s": 1000.0, "expires_s": 1100.0}
        connection.execute(update(access_keys).where(access_keys.c.id == key.id).values(**past))
    new, _ = rotate_key(database, key.id, by="ops", overlap_s=3600.0)
    assert new.expires_s is not None
    assert new.is_live(new.created_s)
    assert stored(database, key.id).expires_s == 1100.0
