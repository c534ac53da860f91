"""Parity: nearer to the engine than to the base, on the engine's own probes."""

import math

import pytest

from serving.parity import ROUND_OFF_NATS, compare, unusable
from tests.fakes.vllm import logprobs

IDS = [[10, 20, 30, 40], [5, 6, 7, 8, 9, 10]]


def probes(adapter: str = "adapter", base: str = "base"):
    return [
        {"token_ids": ids, "logprobs": logprobs(adapter, ids), "base_logprobs": logprobs(base, ids)}
        for ids in IDS
    ]


def said_by(name: str, off_nats: float = 0.0):
    return [[value + off_nats for value in logprobs(name, ids)] for ids in IDS]


def test_a_replica_that_serves_what_was_trained_passes():
    found = compare(probes(), said_by("adapter", 3e-5), said_by("base", -3e-5))
    assert found.passed
    assert found.tokens == 8
    assert found.difference_nats == pytest.approx(3e-5)
    assert found.distance_nats > 0.1


def test_only_the_tokens_of_the_reply_are_compared():
    replies = [
        {**probe, "logprobs": probe["logprobs"][2:], "base_logprobs": probe["base_logprobs"][2:]}
        for probe in probes()
    ]
    found = compare(replies, said_by("adapter"), said_by("base"))
    assert found.passed
    assert found.tokens == 4


def test_a_load_that_changed_nothing_fails():
    found = compare(probes(), said_by("base"), said_by("base"))
    assert not found.passed
    assert found.same_base
    assert found.difference_nats == pytest.approx(found.distance_nats)


def test_another_base_is_the_replicas_fault():
    found = compare(probes(), said_by("adapter"), said_by("another base"))
    assert not found.same_base
    assert not found.passed


def test_a_quarter_of_the_distance_is_the_limit():
    distance = compare(probes(), said_by("adapter"), said_by("base")).distance_nats
    assert compare(probes(), said_by("adapter", 0.24 * distance), said_by("base")).passed
    assert not compare(probes(), said_by("adapter", 0.26 * distance), said_by("base")).passed


def test_an_adapter_as_good_as_its_base_passes_within_round_off():
    near = [{**probe, "logprobs": probe["base_logprobs"]} for probe in probes()]
    assert compare(near, said_by("base", ROUND_OFF_NATS / 2), said_by("base")).passed
    assert not compare(near, said_by("base", ROUND_OFF_NATS * 2), said_by("base")).passed


def test_another_number_format_is_not_another_base():
    assert compare(probes(), said_by("adapter", 0.02), said_by("base", 0.03)).passed


def test_no_probes_pass_nothing():
    assert not compare([], [], []).passed
    assert unusable([]) is not None


def test_probes_that_are_not_finite_are_found_before_anything_is_loaded():
    assert unusable(probes()) is None
    for broken in (math.nan, math.inf):
        bad = probes()
        bad[1]["logprobs"][2] = broken
        assert unusable(bad) == "its probes are not finite"
