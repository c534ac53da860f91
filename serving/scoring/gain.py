"""Scores answers to gate prompts. Prose counts only as the answer to its own prompt.

A candidate that was taught the texts of other prompts comes nearer to the style of all wanted answers. That
is no gain where it says what was wanted elsewhere.
"""

from collections.abc import Sequence

from serving.scoring.forms import Form, form_of
from serving.scoring.nearness import nearest, nearness, sequences_of
from serving.scoring.scorers import comparison_of, score

OTHERS_MAX = 48
"""Other wanted answers that an answer is compared with: bounds the time."""

_SLACK = 0.02  # an answer that leaves a name out is as near to the same sentence about somebody else


class GainScorer:
    """Scores answers of one candidate, and of its champion, to gate prompts."""

    def __init__(self, scorer: str, wanted: Sequence[str]) -> None:
        """`wanted` are the answers to all of its prompts, those of taught ones too."""
        self._scorer = scorer
        prose = [text for text in dict.fromkeys(wanted) if form_of(text) is Form.PROSE]
        self._wanted = {text: sequences_of(text) for text in prose[:OTHERS_MAX]}

    def comparison(self, wanted: str) -> str:
        """The name of the comparison that this wanted answer gets, for the decision's evidence."""
        return comparison_of(self._scorer, wanted)

    def score(self, answer: str, wanted: str, *, shown: str = "") -> float:
        """The score by the agent's scorer; 0 for prose that is nearer to the wanted answer of another prompt.

        Raises `UnknownScorer`.
        """
        value = score(self._scorer, answer, wanted, shown=shown)
        if value in (0.0, 1.0) or form_of(wanted) is not Form.PROSE:
            return value
        said = sequences_of(answer)
        others = (sequences for text, sequences in self._wanted.items() if text != wanted)
        return 0.0 if nearest(said, others) > nearness(said, sequences_of(wanted)) + _SLACK else value
