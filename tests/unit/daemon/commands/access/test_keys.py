"""`clorad keys`: a key is shown once, listed without its secret, rotated and revoked."""

import re
from pathlib import Path

import pytest

from tests.unit.daemon.conftest import Clorad

pytestmark = pytest.mark.usefixtures("story")


def test_a_key_is_shown_once_alone_on_standard_output(clorad: Clorad, story: Path) -> None:
    said = clorad("keys", "create", "ann", "--agent", "billing", "--right", "talk", "--days", "90")
    assert said.code == 0, said.err
    assert re.fullmatch(r"clorad_[0-9a-f]{12}_[0-9a-f]{64}\n", said.out)
    secret = said.out.strip().rpartition("_")[2]
    assert "shown this once" in said.err
    assert secret not in said.err
    for words in (("keys", "list"), ("keys", "list", "--all", "--json")):
        assert secret not in clorad(*words).out
    wal = story.with_name(story.name + "-wal")
    stored = story.read_bytes() + (wal.read_bytes() if wal.exists() else b"")
    assert secret.encode() not in stored


def test_keys_are_listed_with_what_they_allow(clorad: Clorad) -> None:
    assert "no keys yet" in clorad("keys", "list").out
    words = ("--right", "feedback", "--right", "judge", "--requests-per-minute-max", "60", "--by", "ops")
    clorad("keys", "create", "verifier", *words)
    assert re.search(r"verifier +all +feedback, judge +– +60 .*ops +open", clorad("keys", "list").out)
    [key] = clorad("keys", "list", "--json").json
    assert (key["name"], key["agents"], key["rights"]) == ("verifier", None, ["feedback", "judge"])
    assert (key["requests_per_minute_max"], key["concurrency_max"]) == (60, None)


def test_a_key_may_talk_and_give_feedback_where_nothing_else_is_said(clorad: Clorad) -> None:
    made = clorad("keys", "create", "ann", "--json").json
    assert made["rights"] == ["talk", "feedback"]
    assert made["key"].startswith(f"clorad_{made['id']}_")


def test_a_key_is_rotated_and_the_old_one_is_named(clorad: Clorad) -> None:
    old = clorad("keys", "create", "ann", "--json").json
    said = clorad("keys", "rotate", old["id"], "--hours", "2")
    assert f"the key before it, {old['id']}, expires in 2 h at the latest" in said.err.replace(
        "120 min", "2 h"
    )
    listed = {key["id"]: key for key in clorad("keys", "list", "--json").json}
    assert len(listed) == 2
    assert {key["name"] for key in listed.values()} == {"ann"}
    assert listed[old["id"]]["expires_s"] is not None


def test_a_key_is_revoked_by_its_id_or_by_what_was_found_of_it(clorad: Clorad) -> None:
    first = clorad("keys", "create", "ann", "--json").json
    second = clorad("keys", "create", "bob", "--json").json
    assert "1 key revoked" in clorad("keys", "revoke", first["id"]).out
    assert "0 keys revoked" in clorad("keys", "revoke", first["key"]).out
    assert [key["id"] for key in clorad("keys", "revoke", "--name", "bob", "--json").json] == [second["id"]]
    assert clorad("keys", "list", "--json").json == []
    assert len(clorad("keys", "list", "--all", "--json").json) == 2
    assert "revoked" in clorad("keys", "list", "--all").out


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("create", "ann smith"), 1, "must match"),
        (("create", "ann", "--agent", "nobody"), 1, "no agent nobody"),
        (("create", "ann", "--right", "rule"), 2, "rule"),
        (("revoke",), 2, "say which"),
        (("revoke", "0123456789ab", "--name", "ann"), 2, "say which"),
        (("revoke", "0123456789ab"), 1, "no key 0123456789ab"),
        (("rotate", "0123456789ab"), 1, "no key 0123456789ab"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    clorad: Clorad, words: tuple[str, ...], code: int, why: str
) -> None:
    said = clorad("keys", *words)
    assert said.code == code
    assert why in said.err


def test_a_text_that_is_no_id_is_not_repeated(clorad: Clorad) -> None:
    said = clorad("keys", "revoke", "sk-something-secret")
    assert said.code == 2
    assert "something" not in said.err + said.out
