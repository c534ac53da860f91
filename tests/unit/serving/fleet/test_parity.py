"""Parity: nearer to the engine than to the base, on the engine's own probes."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.measurements import Probe
from serving.fleet.parity import ROUND_OFF_NATS, Parity, compare, complaint_about, request_of
from serving.fleet.replica import Continuation
from tests.fakes import vllm_models

PROMPTS = ([10, 20, 30, 40], [5, 6, 7])


def probes(adapter: str = "adapter", base: str = "base") -> list[Probe]:
    return vllm_models.probes(adapter, PROMPTS, base=base)


def continuations_of(
    path: str, off_nats: float = 0.0, *, known: Callable[[dict[int, float]], dict[int, float]] = dict
) -> list[Continuation]:
    """A replica's answers to the probes, with all log-probabilities off by so much."""
    continuations = []
    for probe in probes():
        prompt_ids, count = request_of(probe)
        reply = vllm_models.continuation(path, prompt_ids, count)
        rows = [vllm_models.likely(path, [*prompt_ids, *reply[:place]]) for place in range(count)]
        shifted = [{token: value + off_nats for token, value in row.items()} for row in rows]
        continuations.append(Continuation(token_ids=tuple(reply), likely=tuple(map(known, shifted))))
    return continuations


def test_a_replica_that_serves_what_was_trained_passes():
    parity = compare(probes(), continuations_of("adapter", 3e-5), continuations_of("base", -3e-5))
    assert parity.passed
    assert (parity.probes, parity.tokens) == (2, 6)
    assert parity.difference_nats == pytest.approx(3e-5)
    assert parity.distance_nats > 0.1


def test_a_load_that_changed_nothing_fails():
    parity = compare(probes(), continuations_of("base"), continuations_of("base"))
    assert not parity.passed
    assert parity.same_base


def test_another_base_fails_and_is_told_from_a_bad_load():
    parity = compare(probes(), continuations_of("adapter"), continuations_of("another base"))
    assert not parity.same_base
    assert not parity.passed


def test_a_coarse_number_format_is_not_another_base():
    assert compare(probes(), continuations_of("adapter", 0.02), continuations_of("base", 0.03)).passed


def test_an_adapter_much_further_off_than_its_base_fails_though_it_is_near_the_engine():
    distance = compare(probes(), continuations_of("adapter"), continuations_of("base")).distance_nats
    assert not compare(
        probes(), continuations_of("adapter", 0.1 * distance), continuations_of("base", 1e-5)
    ).passed


def test_half_the_distance_is_the_limit_however_coarse_the_numbers():
    coarse = Parity(probes=1, tokens=3, distance_nats=0.1, difference_nats=0.049, base_difference_nats=0.09)
    assert coarse.passed
    assert not replace(coarse, difference_nats=0.051).passed


def test_an_adapter_may_be_three_times_as_far_off_as_its_base():
    coarse = Parity(probes=1, tokens=3, distance_nats=2.0, difference_nats=0.089, base_difference_nats=0.03)
    assert coarse.passed
    assert not replace(coarse, difference_nats=0.091).passed


def test_a_probe_that_was_not_answered_fails_all_of_them():
    whole = Parity(probes=4, tokens=4, distance_nats=2.0, difference_nats=0.0, base_difference_nats=0.0)
    assert whole.passed
    assert not replace(whole, tokens=3).passed


def test_an_adapter_as_good_as_its_base_passes_within_round_off():
    near = [replace(probe, logprobs=probe.base_logprobs) for probe in probes("base")]
    continuations = [replace(answer) for answer in continuations_of("base")]
    assert compare(near, continuations, continuations).passed
    assert Parity(
        probes=1,
        tokens=1,
        distance_nats=0.0,
        difference_nats=ROUND_OFF_NATS / 2,
        base_difference_nats=0.0,
    ).passed


def test_a_token_the_replica_does_not_name_is_as_likely_as_the_last_it_named_at_most():
    def top_two(row: dict[int, float]) -> dict[int, float]:
        return dict(sorted(row.items(), key=lambda item: -item[1])[:2])

    parity = compare(
        probes(), continuations_of("adapter", known=top_two), continuations_of("base", known=top_two)
    )
    assert parity.passed


def test_a_likely_token_the_replica_does_not_name_counts_against_it():
    def all_but_the_likeliest(row: dict[int, float]) -> dict[int, float]:
        return {token: value for token, value in row.items() if value < max(row.values())}

    parity = compare(
        probes(), continuations_of("adapter", known=all_but_the_likeliest), continuations_of("base")
    )
    assert parity.tokens == 6
    assert not parity.passed


def test_tokens_after_the_first_different_token_do_not_count():
    other_replies = [
        replace(answer, token_ids=(0, *answer.token_ids[1:])) for answer in continuations_of("adapter", 0.0)
    ]
    parity = compare(probes(), other_replies, continuations_of("base"))
    assert parity.tokens == 2, "one position a probe: before the first token the contexts are the same"


def test_empty_answers_fail():
    nothing = [Continuation(token_ids=(), likely=()) for _ in PROMPTS]
    assert not compare(probes(), nothing, continuations_of("base")).passed


def test_no_probes_at_all_fail():
    assert not compare([], [], []).passed
    assert complaint_about([]) is not None


def test_probes_that_are_not_finite_are_found_before_anything_is_loaded():
    assert complaint_about(probes()) is None
    for broken in (math.nan, math.inf):
        sound, probe = probes()
        *rows, last = probe.logprobs
        bad = replace(probe, logprobs=(*rows, (broken, *last[1:])))
        assert complaint_about([sound, bad]) == "its probes are not finite"
