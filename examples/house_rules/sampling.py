"""Asks a few held-out prompts again and again while the demo runs, for the curves on the screen.

The figures come from the evaluations before and after.
"""

import threading
from collections.abc import Sequence

from examples.house_rules.evaluation import Answers, Evaluation
from examples.house_rules.progress import DemoProgress
from examples.house_rules.recording import DemoCounts
from examples.house_rules.world import Task

SAMPLE_S = 6.0  # between two samples
SAMPLED = 3


def sample(
    evaluations: Sequence[Evaluation],
    answers: Answers,
    counts: DemoCounts,
    progress: DemoProgress,
    finished: threading.Event,
) -> None:
    """Ask about every agent until `finished` is set; count the requests and note what was right."""
    round_number = 0
    while not finished.wait(SAMPLE_S):
        for evaluation in evaluations:
            tasks = _some(evaluation, round_number)
            replies = answers(tasks)
            counts.evaluation_requests += len(replies)
            counts.evaluation_failed += sum(reply is None for reply in replies)
            agent = progress.agents[evaluation.agent]
            agent.evaluated = None
            agent.recent.extend(reply == task.wanted for task, reply in zip(tasks, replies, strict=True))
            agent.history.append(agent.accuracy)
        round_number += 1


def _some(evaluation: Evaluation, round_number: int) -> Sequence[Task]:
    first = round_number * SAMPLED * 7 % len(evaluation.fires)  # in jumps, so that every rule is sampled
    return [evaluation.fires[(first + step * 11) % len(evaluation.fires)] for step in range(SAMPLED)]
