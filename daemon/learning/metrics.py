"""What a learner counts: passes, turns by outcome, steps, tokens, and events by what became of them."""

from collections import Counter
from collections.abc import Iterable

from opentelemetry import metrics

from engine.lesson import Learned, NotLearned
from feedback.counters import start_at_zero

_meter = metrics.get_meter("daemon")
_turns = _meter.create_counter("clorad.learner.turns", unit="{turn}")
_events = _meter.create_counter("clorad.learner.events", unit="{event}")
_tokens = _meter.create_counter("clorad.learner.tokens", unit="{token}")
_steps = _meter.create_counter("clorad.learner.steps", unit="{step}")
_shortages = _meter.create_counter("clorad.learner.memory.shortages", unit="{shortage}")
_abandoned = _meter.create_counter("clorad.learner.passes.abandoned", unit="{pass}")
_agents = _meter.create_histogram(
    "clorad.learner.pass.agents",
    unit="{agent}",
    explicit_bucket_boundaries_advisory=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0),
)
_pass_s = _meter.create_histogram(
    "clorad.learner.pass.duration",
    unit="s",
    explicit_bucket_boundaries_advisory=(1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
)


def begin() -> None:
    """Every series of turns, steps, memory shortages and abandoned passes is exported from the start."""
    start_at_zero(_turns, *({"outcome": outcome} for outcome in ("made", "dropped", "void")))
    start_at_zero(_steps, *({"fate": fate} for fate in ("taken", "skipped")))
    for counter in (_shortages, _abandoned):
        start_at_zero(counter)


def trained(agents: int, *, took_s: float, ran_out_of_memory: bool) -> None:
    """A pass of so many agents was computed; what came of each is counted when its turn is closed."""
    _agents.record(agents)
    _pass_s.record(took_s)
    _shortages.add(int(ran_out_of_memory))


def closed(outcome: str, result: Learned | NotLearned, tokens: int, events: Iterable[str]) -> None:
    """A turn made a version or was dropped; `events` says what became of each of its new ones.

    Only the kind is counted ("barren: too long" is barren): the rest differs from event to event.
    """
    _turns.add(1, {"outcome": outcome})
    _tokens.add(tokens)
    _steps.add(result.metrics.steps if isinstance(result, Learned) else 0, {"fate": "taken"})
    _steps.add(len(result.skipped), {"fate": "skipped"})
    for became, number in Counter(one.partition(":")[0].replace(" ", "_") for one in events).items():
        _events.add(number, {"became": became})


def void() -> None:
    """A turn's work was lost: its world changed meanwhile, or memory ran out twice."""
    _turns.add(1, {"outcome": "void"})


def abandoned() -> None:
    """A pass was given up because its leases were lost."""
    _abandoned.add(1)
