"""Writes the experiment file of a row of `bench.experiments`: an example's, with the row's batch and seed."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import examples.experiments
from bench.experiment_plan import RowPlan

EXAMPLES = Path(examples.experiments.__path__[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowExperiment:
    """One experiment of a row."""

    name: str  # of its agent, which no other row has
    seed: int
    recipe: Mapping[str, Any]
    options: Mapping[str, Any]  # of the environment

    def section(self) -> str:
        """Its part of the experiment file."""
        head = f"[experiments.{self.name}]\nseed = {self.seed}\n"
        tables = {"recipe": self.recipe, "options": self.options}
        return head + "".join(
            f"[experiments.{self.name}.{table}]\n{_lines(values)}" for table, values in tables.items()
        )


def row_experiments(plan: RowPlan) -> list[RowExperiment]:
    """The first experiments of the environment's example file, as many as the row has."""
    example = _read_example(plan.environment)
    cold = "-cold" if plan.cold else ""
    return [
        RowExperiment(
            name=f"{name}-{plan.regime}{cold}-{plan.at_once}-{plan.seed}",
            seed=plan.seed + int(own.get("seed", 0)),
            recipe={**example.get("recipe", {}), **own.get("recipe", {})},
            options={**example.get("options", {}), **own.get("options", {}), "tool_s": plan.tool_s},
        )
        for name, own in list(example["experiments"].items())[: plan.experiments]
    ]


def experiment_file(plan: RowPlan, experiments: Sequence[RowExperiment]) -> str:
    """The file for `clorad experiment run`."""
    shared = {
        "environment": _read_example(plan.environment)["environment"],
        "groups": plan.groups,
        "samples": plan.samples,
        "steps": plan.steps,
    }
    return _lines(shared) + "".join(experiment.section() for experiment in experiments)


def _read_example(environment: str) -> Mapping[str, Any]:
    return tomllib.loads((EXAMPLES / f"{environment}.toml").read_text())


def _lines(values: Mapping[str, Any]) -> str:
    """TOML lines. Texts, numbers, lists and truth values are written alike in JSON."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
