"""Every reason for which the gate refuses has a cause that a retry can act on."""

from dataclasses import replace

import pytest

from ledger.versions.causes import Cause, causes_of
from ledger.versions.decisions import Verdict
from serving.fleet.gate import AnswerStatistics
from tests.unit.serving.fleet.test_gate import GOOD_PARITY, SANE, evidence, pairs, ruling_on


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"gate": pairs(4, 4)}, Cause.NOT_BETTER),
        ({"suite": pairs(0, 9, 30)}, Cause.HARM),
        ({"after": replace(SANE, repetitive=30)}, Cause.REPETITIVE),
        ({"after": replace(SANE, cut_short=30)}, Cause.CUT_SHORT),
        ({"after": replace(SANE, unparsable=30)}, Cause.UNPARSABLE),
        ({"after": AnswerStatistics(answers=60, characters=9, characters_wanted=1100)}, Cause.LENGTH),
        ({"kl_nats": 3.0}, Cause.KL),
        ({"parity": replace(GOOD_PARITY, difference_nats=1.0)}, Cause.PARITY),
    ],
)
def test_each_refusal_has_its_cause(changed: dict[str, object], cause: Cause) -> None:
    ruling = ruling_on(evidence(**changed), kl_nats_max=1.0)
    assert ruling.verdict is Verdict.REFUSE
    assert causes_of(ruling.reasons) == {cause}


def test_an_abstention_for_want_of_a_suite_has_its_cause() -> None:
    ruling = ruling_on(evidence(suite=()), suite_min=2)
    assert ruling.verdict is Verdict.ABSTAIN
    assert causes_of(ruling.reasons) == {Cause.NO_SUITE}


def test_what_a_person_writes_has_no_cause() -> None:
    assert causes_of(["it sounds rude", "harmless: I think"]) == frozenset()
