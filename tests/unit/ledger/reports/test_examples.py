"""The prompts of a decision as receipts show them."""

from ledger.reports.examples import examples_of
from ledger.versions.evidence import Answers, Evidence, Pair, from_json

EVIDENCE = Evidence(
    gate=(Pair(event="dev#1", before=0.0, after=1.0, by="quality"),),
    suite=(Pair(event="dev#2", before=1.0, after=1.0, by="exact"),),
    answers={"dev#3": Answers(before="no", after="yes")},
    unscored={"dev#3": "silent for 30 s"},
    verdicts={"dev#1": ("after", "tie")},
)


def test_a_prompt_without_a_score_is_told_with_its_reason() -> None:
    *scored, unscored = examples_of(EVIDENCE)
    assert [(example.uid, example.suite, example.by) for example in scored] == [
        ("dev#1", False, "quality"),
        ("dev#2", True, "exact"),
    ]
    assert scored[0].verdicts == ("after", "tie")
    assert (unscored.uid, unscored.unscored, unscored.after_text) == ("dev#3", "silent for 30 s", "yes")
    assert unscored.to_json()["score_after"] is None


def test_the_ledger_stores_how_prompts_were_compared() -> None:
    assert from_json(EVIDENCE.to_json()) == EVIDENCE
    assert "by" not in Evidence(gate=(Pair(event="dev#1", before=0.0, after=1.0),)).to_json()["gate"][0]
    assert EVIDENCE.judged_events() == ["dev#1", "dev#2", "dev#3"]
