"""Scores answers to prompts of the no-harm suite: a reworded answer is no harm, another decision is."""

from collections.abc import Sequence

from rewards.similarity import TextFeatures, similarity, text_features
from serving.scoring.forms import Form, form_of, holds_json
from serving.scoring.scorers import AUTO, SIMILARITY, comparison_of, score

_UNRELATED_MAX = 0.2
"""Texts so little similar share only common words."""


class HarmScorer:
    """Scores answers of one candidate, and of its champion, to suite prompts."""

    def __init__(self, scorer: str, taught: Sequence[str]) -> None:
        """`taught` are replies that the candidate was taught: where no rule asks for them they are harm."""
        self._scorer = scorer
        self._taught: tuple[TextFeatures, ...] = tuple(text_features(text) for text in dict.fromkeys(taught))

    def comparison(self, wanted: str) -> str:
        """The name of the comparison that this wanted answer gets, for the decision's evidence."""
        return comparison_of(self._scorer, wanted)

    def score(self, answer: str, wanted: str, *, shown: str = "") -> float:
        """1.0: no harm. A wanted answer that is no prose is compared as the agent's scorer says.

        Text around fenced code may be worded in another way, the code may not change. Prose may be worded in
        another way. It may not become JSON (a tool call, say), nor nothing, nor be more similar to a reply
        that was taught than to the wanted one. Raises `UnknownScorer`.
        """
        exact = score(self._scorer, answer, wanted, shown=shown)
        form = form_of(wanted)
        if exact == 1.0 or form not in (Form.PROSE, Form.MIXED):
            return exact
        if form is Form.MIXED:
            return float(score(AUTO, answer, wanted, shown=shown) > 0.0)
        return float(self._says_the_same(answer, wanted, shown=shown))

    def may_be_reworded(self, answer: str, wanted: str, *, shown: str = "") -> bool:
        """Whether the wanted answer has a few words, and the answer would be no harm if they were prose.

        A label that changed is another decision, a greeting in other words is none. The texts alone do not
        tell which of the two it is.
        """
        return form_of(wanted) is Form.EXACT and self._says_the_same(answer, wanted, shown=shown)

    def _says_the_same(self, answer: str, wanted: str, *, shown: str) -> bool:
        if holds_json(answer) or score(SIMILARITY, answer, wanted, shown=shown) == 0.0:
            return False  # another form, no answer, or a placeholder
        features = text_features(answer)
        nearest = max((similarity(features, taught) for taught in self._taught), default=0.0)
        return nearest < similarity(features, text_features(wanted)) or nearest < _UNRELATED_MAX
