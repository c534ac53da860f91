"""Evaluations of agents: which questions they have, and how the results are counted."""

import pytest

from examples.house_rules.evaluation import Evaluation, build_evaluation, evaluate
from examples.house_rules.world import World


@pytest.fixture
def evaluation(world: World) -> Evaluation:
    return build_evaluation(world, "coder", n=100)


def test_an_evaluation_has_enough_questions_of_each_kind_and_about_every_rule(
    world: World, evaluation: Evaluation
) -> None:
    assert min(len(evaluation.fires), len(evaluation.near), len(evaluation.free)) >= 100
    assert {task.intent for task in evaluation.fires} == {
        rule.intent for rule in world.rules if rule.agent == "coder"
    }
    assert evaluation == build_evaluation(world, "coder", n=100)


def test_an_agent_that_follows_every_rule_gets_full_results(evaluation: Evaluation) -> None:
    result = evaluate([evaluation], lambda tasks: [task.wanted for task in tasks])["coder"]
    assert (result.followed, result.leaked, result.kept, result.failed) == (1.0, 0.0, 1.0, 0)


def test_an_agent_that_applies_rules_to_near_misses_leaks(evaluation: Evaluation) -> None:
    result = evaluate([evaluation], lambda tasks: [task.leak or task.wanted for task in tasks])["coder"]
    assert result.followed == 1.0
    assert result.leaked == 1.0


def test_requests_without_an_answer_are_counted_as_failed(evaluation: Evaluation) -> None:
    result = evaluate([evaluation], lambda tasks: [None for _ in tasks])["coder"]
    assert result.failed == result.requests
    assert result.followed == 0.0
