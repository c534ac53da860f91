"""The names of what the fields of other tools hold, and of good and bad labels. Cheap to import."""

from collections.abc import Mapping
from typing import Literal

Use = Literal["correction", "comment", "opinion", "ignored"]

USES: Mapping[str, Use] = {
    **dict.fromkeys(("correction", "corrected", "corrected_output", "expected_response"), "correction"),
    **dict.fromkeys(("expected_output", "ground_truth"), "correction"),
    **dict.fromkeys(("comment", "reason", "explanation", "rationale", "note"), "comment"),
}
"""What the fields, questions and scores of these names hold, unless `names` says otherwise; others are
opinions."""

GOOD = frozenset({"good", "correct", "up", "thumbs_up", "thumbs-up", "positive", "yes", "true", "pass", "👍"})
BAD = frozenset({"bad", "incorrect", "wrong", "down", "thumbs_down", "thumbs-down", "negative"}) | frozenset(
    {"no", "false", "fail", "👎"}
)
