"""Scorers of the user's own within bounds of time and faults."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from serving.fleet.answers import AnsweredQuestion, Interrupted
from serving.fleet.own_scores import FAULTS_MAX, OwnScoring, ScoringOptions
from serving.fleet.questions import Question
from serving.fleet.replica import Completion
from serving.replaying.replay import COMPLETE, OTHER_CALLS, Replay
from serving.scoring.own import NoScore, Scored
from serving.scoring.verifier import ConversationVerifier

WANTED = "right"


def answered(n: int, *, after: str = WANTED, shown: str = "ask") -> AnsweredQuestion:
    question = Question(event=f"dev#{n}", messages=({"role": "user", "content": shown},), wanted=WANTED)
    return AnsweredQuestion(
        question=question,
        before=Completion(text="wrong", finish_reason="stop"),
        after=Completion(text=after, finish_reason="stop"),
    )


class ScorerOf:
    """A scorer that is a function of the answers."""

    is_relative = False

    def __init__(self, function: Callable[[Sequence[str]], Scored]) -> None:
        self.function = function
        self.calls = 0

    def score(self, messages: Any, wanted: Any, answers: Any) -> Scored:
        self.calls += 1
        return self.function(answers)

    def close(self) -> None:
        pass


def equal(answers: Sequence[str]) -> Scored:
    return Scored(values=tuple(float(answer == WANTED) for answer in answers))


def refuse(_answers: Sequence[str]) -> Scored:
    raise NoScore("it raised KeyError")


def build_scoring(scorer: ScorerOf, *, total_s_max: float = 60.0, in_flight_max: int = 1) -> OwnScoring:
    options = ScoringOptions(wait_s_max=1.0, total_s_max=total_s_max, in_flight_max=in_flight_max)
    return OwnScoring(
        scorer, name="own", options=options, redact=lambda text: text, stopping=threading.Event()
    )


def test_each_answer_keeps_its_number_in_whatever_order_they_are_shown() -> None:
    scores = build_scoring(ScorerOf(equal), in_flight_max=4).scores([answered(n) for n in range(20)])
    assert {(pair.before, pair.after, pair.by) for pair in scores.pairs} == {(0.0, 1.0, "own")}
    assert [pair.event for pair in scores.pairs] == [f"dev#{n}" for n in range(20)]
    assert scores.missing == {}


def test_the_verdicts_of_a_judge_name_the_model() -> None:
    judge = ScorerOf(
        lambda answers: Scored(
            values=equal(answers).values,
            verdicts=("first" if answers[0] == WANTED else "second", "tie"),
        )
    )
    scores = build_scoring(judge).scores([answered(n) for n in range(8)])
    assert set(scores.verdicts.values()) == {("after", "tie")}


def test_after_some_faults_in_a_row_the_scorer_is_left_alone() -> None:
    scorer = ScorerOf(refuse)
    scores = build_scoring(scorer).scores([answered(n) for n in range(9)])
    assert scores.pairs == ()
    assert scorer.calls == FAULTS_MAX
    assert scores.missing["dev#0"] == "it raised KeyError"
    assert scores.missing["dev#8"] == "not tried after 3 prompts in a row without a score"


def test_single_faults_cost_their_own_prompts_only() -> None:
    def moody(answers: Sequence[str]) -> Scored:
        return refuse(answers) if "odd" in answers else equal(answers)

    texts = ["odd" if n % 2 else WANTED for n in range(10)]
    scores = build_scoring(ScorerOf(moody)).scores([answered(n, after=text) for n, text in enumerate(texts)])
    assert (len(scores.pairs), len(scores.missing)) == (5, 5)


def test_the_time_for_a_candidate_is_bounded() -> None:
    scores = build_scoring(ScorerOf(equal), total_s_max=0.0).scores([answered(1)])
    assert scores.missing == {"dev#1": "not tried within 0 s"}


def test_a_placeholder_is_worth_nothing_unless_the_prompt_has_it() -> None:
    ones = ScorerOf(lambda answers: Scored(values=(1.0,) * len(answers)))
    [pair] = build_scoring(ones).scores([answered(1, after="write to [email]")]).pairs
    assert (pair.before, pair.after) == (1.0, 0.0)
    [pair] = build_scoring(ones).scores([answered(1, after="to [email]", shown="is [email] right?")]).pairs
    assert (pair.before, pair.after) == (1.0, 1.0)


def test_a_role_that_stops_is_not_held_up() -> None:
    stopping = threading.Event()
    stopping.set()
    options = ScoringOptions(wait_s_max=1.0, total_s_max=60.0, in_flight_max=1)
    scoring = OwnScoring(ScorerOf(equal), name="own", options=options, redact=str, stopping=stopping)
    with pytest.raises(Interrupted):
        scoring.scores([answered(1)])


class ConversationScorer(ConversationVerifier):
    """A verifier of conversations without a server: 1 where the last message is as wanted."""

    def __init__(self) -> None:
        self.ended: list[Sequence[str]] = []

    def score_conversations(self, messages: Any, wanted: Any, conversations: Any, ended: Any) -> Scored:
        self.ended.append(ended)
        return Scored(values=tuple(float(talk[-1]["content"] == wanted) for talk in conversations))


def went_on(text: str, ended: str = COMPLETE) -> Replay:
    return Replay(messages=({"role": "assistant", "content": text},), ended=ended)


def build_replaying(*, total_s_max: float = 60.0) -> tuple[OwnScoring, ConversationScorer]:
    def replays(_answered: AnsweredQuestion, check_time: Callable[[], None]) -> tuple[Replay, Replay]:
        time.sleep(0.02)
        check_time()
        return went_on(WANTED), went_on("secret", OTHER_CALLS)

    scorer = ConversationScorer()
    options = ScoringOptions(wait_s_max=1.0, total_s_max=total_s_max, in_flight_max=1)
    scoring = OwnScoring(
        scorer,
        name="own",
        options=options,
        redact=lambda text: text.replace("secret", "[secret]"),
        stopping=threading.Event(),
        replays=replays,
    )
    return scoring, scorer


def test_whole_conversations_are_scored_by_how_they_went_on_not_by_the_first_answer() -> None:
    scoring, scorer = build_replaying()
    scores = scoring.scores([answered(n) for n in range(4)])
    assert {(pair.before, pair.after) for pair in scores.pairs} == {(1.0, 0.0)}, "the champion went on well"
    assert set(scores.replays.values()) == {(COMPLETE, OTHER_CALLS)}
    assert {tuple(ended) for ended in scorer.ended} == {(COMPLETE, OTHER_CALLS), (OTHER_CALLS, COMPLETE)}


def test_a_conversation_that_is_not_replayed_in_time_has_no_score() -> None:
    scoring, scorer = build_replaying(total_s_max=0.01)
    scores = scoring.scores([answered(0)])
    assert (scores.pairs, scorer.ended) == ((), [])
    assert "was not replayed within" in scores.missing["dev#0"]
