"""A language model that compares two answers, on any server that speaks OpenAI's API.

It is asked twice, the second time with the answers exchanged: models prefer a position (Zheng et al., 2023,
"Judging LLM-as-a-judge"). Only an answer that is preferred both times is better; all else is a tie.
"""

import json
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.scoring.own import NoScore, Scored, Wanted
from serving.scoring.remote import ScoringClient

PROMPT = Path(__file__).with_name("judge_prompt.txt")
"""What the judge is told."""

REPLY_TOKENS_MAX = 1024
_NONSENSE_TRIES_MAX = 2  # temperature 0 does not make all servers repeat themselves
_CHARS_MAX = 20_000  # of one text
_WORD = re.compile(r"[\W_]*(A|B|TIE)[\W_]*", re.IGNORECASE)
_VERDICTS = {"A": "first", "B": "second", "TIE": "tie"}
_EXCHANGED = {"first": "second", "second": "first", "tie": "tie"}


class ModelJudge:
    """The client of one judge. Threads may share it."""

    is_relative = True

    def __init__(
        self,
        url: str,
        *,
        model: str,
        headers: Mapping[str, str],
        wait_s_max: float,
        requests_max: int,
        prompt: str,
    ) -> None:
        """`url` ends before `/chat/completions`, as in https://host/v1."""
        self._client = ScoringClient(
            f"{url.rstrip('/')}/chat/completions", headers=headers, wait_s_max=wait_s_max
        )
        self._model = model
        self._prompt = prompt
        self._requests_max = requests_max
        self._requests_left = requests_max
        self._lock = threading.Lock()

    def score(
        self, messages: Sequence[Mapping[str, Any]], wanted: Wanted, answers: Sequence[Wanted]
    ) -> Scored:
        """1 and 0 where both orders prefer the same answer, else ½ for both. Raises `NoScore`."""
        first, second = answers
        if first == second:
            return Scored(values=(0.5, 0.5))
        forward = self._verdict(messages, wanted, first, second)
        backward = _EXCHANGED[self._verdict(messages, wanted, second, first)]
        preferred = forward if forward == backward else "tie"
        values = {"first": (1.0, 0.0), "second": (0.0, 1.0), "tie": (0.5, 0.5)}[preferred]
        return Scored(values=values, verdicts=(forward, backward))

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _verdict(
        self, messages: Sequence[Mapping[str, Any]], wanted: Wanted, first: Wanted, second: Wanted
    ) -> str:
        material = {
            "conversation": [_cut(message) for message in messages],
            "reference": _cut(wanted),
            "A": _cut(first),
            "B": _cut(second),
        }
        body = {
            "model": self._model,
            "temperature": 0.0,
            "max_tokens": REPLY_TOKENS_MAX,
            "messages": [
                {"role": "system", "content": self._prompt},
                {"role": "user", "content": json.dumps(material, ensure_ascii=False, default=str)},
            ],
        }
        for _ in range(_NONSENSE_TRIES_MAX):
            self._count_request()
            verdict = _read_verdict(self._client.post(body))
            if verdict is not None:
                return verdict
        raise NoScore("its answer is none of A, B and TIE")

    def _count_request(self) -> None:
        with self._lock:
            if self._requests_left <= 0:
                raise NoScore(f"all {self._requests_max} requests for one candidate are spent")
            self._requests_left -= 1


def _read_verdict(reply: Any) -> str | None:
    """The word on the last line; None where there is another one."""
    try:
        lines = reply["choices"][0]["message"]["content"].strip().splitlines()
    except (LookupError, TypeError, AttributeError):
        return None
    word = _WORD.fullmatch(lines[-1]) if lines else None
    return None if word is None else _VERDICTS[word[1].upper()]


def _cut(text: Wanted) -> Wanted:
    return text[:_CHARS_MAX] if isinstance(text, str) else text
