"""What a caller may do, and whose feedback is whose."""

import pytest

from ledger.access.rights import Grant, Right
from serving.gateway.access.caller import Caller
from serving.gateway.edge.errors import RequestRefused

ROOT = "clorad/gateway"


def caller(author: str | None = "ann", **grant: object) -> Caller:
    return Caller(grant=Grant(**{"name": "ann", **grant}), key_id="0123456789ab", author=author)  # type: ignore[arg-type]


def test_somebody_without_a_key_may_ask_and_correct_and_nothing_more() -> None:
    for right in Right:
        if right in (Right.TALK, Right.FEEDBACK, Right.READ):
            Caller().require(right)
        else:
            with pytest.raises(RequestRefused):
                Caller().require(right)
    assert Caller().vouched_rights == frozenset()


def test_a_missing_right_is_a_403() -> None:
    with pytest.raises(RequestRefused) as refused:
        caller(rights=frozenset({Right.FEEDBACK})).require(Right.TALK)
    assert (refused.value.status, refused.value.reason) == (403, "right")
    assert refused.value.body["error"]["code"] == "missing_right"


def test_an_agent_of_others_is_a_403_whether_it_exists_or_not() -> None:
    ann = caller(agents=frozenset({"billing"}))
    ann.require_agent("billing")
    with pytest.raises(RequestRefused) as refused:
        ann.require_agent("sql")
    assert refused.value.status == 403
    assert "sql" not in str(refused.value.body)


def test_the_people_behind_a_proxy_do_not_get_the_proxys_own_rights() -> None:
    every = frozenset(Right)
    assert caller(rights=every).vouched_rights == every
    assert caller("bob", rights=every).vouched_rights == every - {Right.ACT, Right.JUDGE}


@pytest.mark.parametrize(
    ("author", "own", "source"),
    [
        ("ann", ROOT, "clorad/gateway/ann"),
        ("ann", "ide-plugin", "clorad/gateway/ann/ide-plugin"),
        ("ann", "//ide.example/a#b", "clorad/gateway/ann///ide.example/a%23b"),
        ("ann", "clorad/gateway/bob", "clorad/gateway/ann/clorad/gateway/bob"),
        ("ann/../bob", ROOT, "clorad/gateway/ann%2F..%2Fbob"),
        ("jörg", ROOT, "clorad/gateway/j%C3%B6rg"),
        (None, "ide-plugin", "ide-plugin"),
    ],
)
def test_an_authors_source_is_below_the_authors_own_name(author: str | None, own: str, source: str) -> None:
    assert caller(author).source(own, root=ROOT) == source


def test_no_two_authors_share_a_source() -> None:
    owns = (ROOT, "x", "b/x", "bob", f"{ROOT}/ann", f"{ROOT}/ann/x")
    sources = {
        author: {caller(author).source(own, root=ROOT) for own in owns}
        for author in ("ann", "ann/b", "ann%2Fb")
    }
    together = set().union(*sources.values())
    assert len(together) == sum(map(len, sources.values()))
