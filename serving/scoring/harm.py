"""Scores answers to prompts of the no-harm suite: a reworded answer is no harm, another decision is."""

import re
from collections.abc import Sequence

from rewards.similarity import TextFeatures, similarity, text_features
from serving.scoring.scorers import SIMILARITY, holds_json, score

PROSE_WORDS_MIN = 8
"""A text of fewer words is compared exactly: there is little to reword in it."""

_CODE_SHARE_MAX = 0.03
"""Signs of code for each word, at most: `name(`, `x[0]`, `{`, `=`, `$`, an indented line and so on."""

_UNRELATED_MAX = 0.2
"""Texts so little similar share only common words."""

_WORDS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CODE = re.compile(r"\w[(\[]|[\[\]{}=<>$|\\`_]|^[ \t]+\S", re.MULTILINE)


def is_prose(text: str) -> bool:
    """Whether the text is made of sentences: no JSON, no code, and not just a few words."""
    words = len(_WORDS.findall(text))
    if words < PROSE_WORDS_MIN or holds_json(text):
        return False
    return len(_CODE.findall(text.strip())) <= _CODE_SHARE_MAX * words


class HarmScorer:
    """Scores answers of one candidate, and of its champion, to suite prompts."""

    def __init__(self, scorer: str, taught: Sequence[str]) -> None:
        """`taught` are replies that the candidate was taught: where no rule asks for them they are harm."""
        self._scorer = scorer
        self._taught: tuple[TextFeatures, ...] = tuple(text_features(text) for text in dict.fromkeys(taught))

    def score(self, answer: str, wanted: str, *, shown: str = "") -> float:
        """1.0: no harm. A wanted answer that is no prose is compared as the agent's scorer says.

        Prose may be worded in another way. It may not become JSON (a tool call, say), nor nothing, nor be
        more similar to a reply that was taught than to the wanted one. Raises `UnknownScorer`.
        """
        exact = score(self._scorer, answer, wanted, shown=shown)
        if exact == 1.0 or not is_prose(wanted):
            return exact
        if holds_json(answer) or score(SIMILARITY, answer, wanted, shown=shown) == 0.0:
            return 0.0  # another form, no answer, or a placeholder
        features = text_features(answer)
        nearest = max((similarity(features, taught) for taught in self._taught), default=0.0)
        return float(nearest < similarity(features, text_features(wanted)) or nearest < _UNRELATED_MAX)
