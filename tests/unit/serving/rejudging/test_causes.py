"""When a champion is judged again."""

import pytest

from ledger.versions.evidence import Circumstances
from serving.rejudging.causes import causes

BEFORE = Circumstances(suite=40, server="0.32.0", template="a1")


@pytest.mark.parametrize(("suite", "is_cause"), [(39, False), (40, False), (49, False), (50, True)])
def test_a_suite_that_grew_by_a_quarter_is_a_cause(suite: int, is_cause: bool) -> None:
    now = Circumstances(suite=suite, server="0.32.0", template="a1")
    assert bool(causes(BEFORE, now, growth=0.25)) is is_cause


def test_the_first_prompts_of_a_suite_are_a_cause_and_none_are_not() -> None:
    assert causes(Circumstances(), Circumstances(suite=3), growth=0.25)
    assert not causes(Circumstances(), Circumstances(), growth=0.25)


def test_another_server_and_another_template_are_causes() -> None:
    now = Circumstances(suite=40, server="0.33.0", template="b2")
    assert causes(BEFORE, now, growth=0.25) == [
        "the replicas run 0.33.0 instead of 0.32.0",
        "the replicas' chat template changed",
    ]


def test_what_was_not_known_before_or_is_not_known_now_has_not_changed() -> None:
    unknown = Circumstances(suite=40)
    assert not causes(BEFORE, unknown, growth=0.25)
    assert not causes(unknown, BEFORE, growth=0.25)
