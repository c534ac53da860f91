"""How long corrections took, from Kafka's acknowledgement to the first answer."""

from examples.house_rules.delays import acknowledgements, delays
from ledger.reports.timeline import Timeline

TIMELINE = Timeline(
    agent="sql",
    version="v1-abc123",
    correction="//ann#7",
    stored_s=101.0,
    opened_s=103.0,
    made_s=113.0,
    passed_s=120.0,
    promoted_s=120.5,
    answered_s=121.0,
)
JOURNAL = [{"source": "//ann", "id": "7", "acknowledged_s": 100.5, "partition": 2}]


def test_a_delay_begins_with_the_acknowledgement_in_the_journal() -> None:
    [delay] = delays([TIMELINE], acknowledgements(JOURNAL))
    assert delay.is_complete
    assert delay.total_s == 20.5
    assert delay.text == (
        "v1-abc123 answers 20.5 s after the last correction "
        "(intake 0.5, wait 2.0, train 10.0, judge 7.0, swap 1.0)"
    )
    assert delay.to_json()["parts_s"] == {
        "intake": 0.5,
        "wait": 2.0,
        "train": 10.0,
        "judge": 7.0,
        "swap": 1.0,
    }


def test_it_ends_when_somebody_saw_the_first_answer() -> None:
    [delay] = delays([TIMELINE], acknowledgements(JOURNAL), {("sql", "v1-abc123"): 120.6})
    assert round(delay.parts_s["swap"], 3) == 0.6


def test_without_the_acknowledgement_it_is_not_complete() -> None:
    [delay] = delays([TIMELINE], {})
    assert not delay.is_complete
