"""Lists every instrument that the code makes, with the name that the real exporter gives it.

Run as `python -m tests.instruments` in a process of its own, because a process has one meter provider. Prints
JSON, `{instrument: [name at /metrics, kind]}`.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import NoOpMeter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

ROOT = Path(__file__).parents[1]
STAGES = ("ledger", "feedback", "rewards", "serving", "daemon")  # `engine` may not load opentelemetry

Made = tuple[str, str, str]  # kind, name, unit


class Noting(metrics.MeterProvider):
    """Notes each instrument that is made, and makes one that does nothing."""

    def __init__(self) -> None:
        self.made: list[Made] = []

    def get_meter(self, name: str, *_: Any, **__: Any) -> metrics.Meter:
        return _NotingMeter(name, self.made)


class _NotingMeter(NoOpMeter):
    def __init__(self, name: str, made: list[Made]) -> None:
        super().__init__(name)
        for method in (name for name in dir(NoOpMeter) if name.startswith("create_")):
            setattr(self, method, self._noted(method.removeprefix("create_"), made))

    def _noted(self, kind: str, made: list[Made]) -> Any:
        make = getattr(self, f"create_{kind}")

        def noted(name: str, *args: Any, unit: str = "", **more: Any) -> Any:
            made.append((kind, name, unit))
            return make(name, *args, unit=unit, **more)

        return noted


def modules() -> list[str]:
    paths = sorted(path for stage in STAGES for path in (ROOT / stage).rglob("*.py"))
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in paths
        if path.stem not in ("__main__", "__init__") and "migrations" not in path.parts
    ]


def exposed(kind: str, name: str, unit: str) -> tuple[str, str]:
    """The name of one instrument at /metrics, and its kind."""
    registry = CollectorRegistry()
    meter = MeterProvider(metric_readers=[PrometheusMetricReader(registry=registry)]).get_meter("one")
    make = getattr(meter, f"create_{kind}")
    if kind.startswith("observable"):
        make(name, callbacks=[lambda _: [Observation(1)]], unit=unit)
    else:
        instrument = make(name, unit=unit)
        getattr(instrument, {"histogram": "record", "gauge": "set"}.get(kind, "add"))(1)
    [family] = [family for family in registry.collect() if family.name != "target"]
    return family.name + ("_total" if family.type == "counter" else ""), family.type


def main() -> int:
    noting = Noting()
    metrics.set_meter_provider(noting)
    for name in modules():
        importlib.import_module(name)
    names = [name for _, name, _ in noting.made]
    assert len(names) == len(set(names)), "an instrument is made in one place"
    json.dump({name: exposed(kind, name, unit) for kind, name, unit in noting.made}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
