"""Orders that `clorad experiment run` gives to an environment: one JSON object a line, and a line back.

An order asks for the rollouts of one step of one experiment. Rewards are not answers: they go to Kafka.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOrder:
    """So many tasks, and so many conversations about each, with one version of one agent."""

    experiment: str
    agent: str
    version: str  # that must answer: v3-1f2e3d, or v0
    step: int
    groups: int  # tasks
    samples: int  # conversations about each
    task_prefix: str  # with which the name of each task begins
    seed: int  # the same seed gives the same tasks
    learns_from: str = "outcomes"  # or "corrections": then people's are sent, each before its outcome
    measured: int = 0  # conversations about held-out prompts, which nobody corrects
    options: Mapping[str, Any] = field(default_factory=dict)  # of the environment

    @property
    def corrects(self) -> bool:
        """Whether people are to say what is wrong."""
        return self.learns_from == "corrections"

    @classmethod
    def read(cls, line: str) -> Self:
        """The order in a line. Fields that this environment does not know are left out."""
        known = {name.name for name in fields(cls)}
        return cls(**{name: value for name, value in json.loads(line).items() if name in known})

    def done(self, *, rollouts: int, failed: int) -> str:
        """The answer: how many conversations were rewarded, and how many could not be held."""
        return json.dumps(
            {"experiment": self.experiment, "step": self.step, "rollouts": rollouts, "failed": failed}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What an environment talks to."""

    gateway: str  # URL
    key: str  # with the right `experiment`; empty: the gateway is open, and answers with judged versions
    bootstrap: str  # of Kafka
    kafka_options: Mapping[str, Any]
    folder: str  # for its files

    @classmethod
    def of_this_process(cls) -> Self:
        """As `clorad experiment run` gives it to the environments that it starts."""
        return cls(**json.loads(os.environ["EXPERIMENT_SURROUNDINGS"]))
