"""Has a scorer of the user's own score answers, within bounds, and tells which prompts have no score."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from feedback.redaction import placeholders
from ledger.versions.evidence import Pair
from serving.fleet.answers import AnsweredQuestion, Interrupted
from serving.replaying.replay import Replay
from serving.scoring.own import NoScore, OwnScorer, Scored
from serving.scoring.verifier import ConversationVerifier

FAULTS_MAX = 3
"""Prompts in a row without a score, after which the others are not tried any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions:
    """What the operator decides about scorers of the user's own."""

    wait_s_max: float  # for one prompt
    total_s_max: float  # for all prompts of one candidate
    in_flight_max: int  # prompts at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of answers; prompts without one, and why; and what a judge said in each order."""

    pairs: tuple[Pair, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)  # uid -> reason
    verdicts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # uid -> before, after or tie
    replays: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # uid -> how before and after ended


Replays = Callable[[AnsweredQuestion, Callable[[], None]], tuple[Replay, Replay]]
"""How the conversation goes on with both models. The second argument is called before each turn."""


class OwnScoring:
    """One scorer at work on one candidate. Its time and its faults are counted over all calls."""

    def __init__(
        self,
        scorer: OwnScorer,
        *,
        name: str,
        options: ScoringOptions,
        redact: Callable[[str], str],
        stopping: threading.Event,
        replays: Replays | None = None,  # for a scorer that judges whole conversations
    ) -> None:
        self._scorer = scorer
        self._replays = replays
        self._ended: dict[str, tuple[str, str]] = {}
        self._name = name
        self._options = options
        self._redact = redact
        self._stopping = stopping
        self._ends_s = time.monotonic() + options.total_s_max
        self._faults = 0
        self._lock = threading.Lock()

    @property
    def is_relative(self) -> bool:
        """Whether its scores only compare the answers it gets."""
        return self._scorer.is_relative

    def scores(self, answered: Sequence[AnsweredQuestion]) -> Scores:
        """The scores of both answers to each question. Raises `Interrupted` once the role is stopping."""
        pool = ThreadPoolExecutor(self._options.in_flight_max, thread_name_prefix="scoring")
        try:
            results = list(pool.map(self._score, answered))
        finally:
            pool.shutdown(cancel_futures=True)
        uids = [answer.question.event for answer in answered]
        by_uid = dict(zip(uids, results, strict=True))
        return Scores(
            pairs=tuple(result[0] for result in results if not isinstance(result, str)),
            missing={uid: result for uid, result in by_uid.items() if isinstance(result, str)},
            verdicts={
                uid: result[1] for uid, result in by_uid.items() if not isinstance(result, str) and result[1]
            },
            replays={uid: self._ended[uid] for uid in uids if uid in self._ended},
        )

    def _score(self, answered: AnsweredQuestion) -> tuple[Pair, tuple[str, ...]] | str:
        """The scores, and a judge's verdicts; or why there are none."""
        if self._stopping.is_set():
            raise Interrupted
        with self._lock:
            if self._faults >= FAULTS_MAX:
                return f"not tried after {FAULTS_MAX} prompts in a row without a score"
        if time.monotonic() >= self._ends_s:
            return f"not tried within {self._options.total_s_max:g} s"
        try:
            result = self._ask(answered)
        except NoScore as missing:
            with self._lock:
                self._faults += 1
            return str(missing)
        with self._lock:
            self._faults = 0
        return result

    def _ask(self, answered: AnsweredQuestion) -> tuple[Pair, tuple[str, ...]]:
        question = answered.question
        texts = [answered.before.text, answered.after.text]
        names = ["before", "after"]
        exchanged = _exchanges(question.event)
        if exchanged:
            texts, names = texts[::-1], names[::-1]
        if isinstance(self._scorer, ConversationVerifier) and self._replays is not None:
            scored = self._judge_replays(self._scorer, answered, exchanged=exchanged)
        else:
            scored = self._scorer.score(
                question.messages, question.wanted, [self._redact(text) for text in texts]
            )
        shown = placeholders(json.dumps(question.messages, default=str))
        values = {
            name: 0.0 if placeholders(text) - shown else value  # nobody's address is `[email]`
            for name, text, value in zip(names, texts, scored.values, strict=True)
        }
        pair = Pair(event=question.event, before=values["before"], after=values["after"], by=self._name)
        words = {"first": names[0], "second": names[1], "tie": "tie"}
        return pair, tuple(words[verdict] for verdict in scored.verdicts)

    def _judge_replays(
        self, verifier: ConversationVerifier, answered: AnsweredQuestion, *, exchanged: bool
    ) -> Scored:
        """The scores of the whole conversations, in the order in which they are shown. Raises `NoScore`."""
        assert self._replays is not None
        question = answered.question
        replays = self._replays(answered, self._check_time)
        self._ended[question.event] = (replays[0].ended, replays[1].ended)
        shown = replays[::-1] if exchanged else replays
        return verifier.score_conversations(
            question.messages,
            question.wanted,
            [self._redacted(list(each.messages)) for each in shown],
            [each.ended for each in shown],
        )

    def _check_time(self) -> None:
        if self._stopping.is_set():
            raise Interrupted
        if time.monotonic() >= self._ends_s:
            raise NoScore(f"its conversation was not replayed within {self._options.total_s_max:g} s")

    def _redacted(self, value: Any) -> Any:
        match value:
            case str():
                return self._redact(value)
            case list():
                return [self._redacted(item) for item in value]
            case dict():
                return {name: self._redacted(item) for name, item in value.items()}
        return value


def _exchanges(uid: str) -> bool:
    """Whether the candidate's answer comes first: a scorer must not know whose an answer is."""
    return hashlib.sha256(uid.encode()).digest()[0] % 2 == 1
