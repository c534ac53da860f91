"""Metrics of a learner: passes, turns by outcome, steps, tokens, and new events by outcome."""

from collections import Counter
from collections.abc import Iterable

from opentelemetry import metrics

from engine.lesson import Learned, NotLearned
from feedback.counters import start_at_zero
from ledger.turn_states import EventOutcome, TurnState

_meter = metrics.get_meter("daemon")
_turns = _meter.create_counter(
    "clorad.learner.turns",
    unit="{turn}",
    description="closed turns: made a version, dropped for want of anything to teach, or void",
)
_events = _meter.create_counter(
    "clorad.learner.events", unit="{event}", description="new events of turns, by what became of them"
)
_tokens = _meter.create_counter(
    "clorad.learner.tokens", unit="{token}", description="tokens that turns were trained on"
)
_steps = _meter.create_counter(
    "clorad.learner.steps",
    unit="{step}",
    description="optimizer steps; a step is skipped where its gradient is not finite",
)
_shortages = _meter.create_counter(
    "clorad.learner.memory.shortages",
    unit="{shortage}",
    description="how often memory ran out; each time, micro-batches are halved until the learner restarts",
)
_abandoned = _meter.create_counter(
    "clorad.learner.passes.abandoned",
    unit="{pass}",
    description="passes given up because their leases were lost",
)
_stale = _meter.create_counter(
    "clorad.learner.samples.stale",
    unit="{event}",
    description="events that teach nothing: the champion is too many turns away from what sampled the answer",
)
_agents = _meter.create_histogram(
    "clorad.learner.pass.agents",
    unit="{agent}",
    description="agents in one pass",
    explicit_bucket_boundaries_advisory=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0),
)
_pass_s = _meter.create_histogram(
    "clorad.learner.pass.duration",
    unit="s",
    description="seconds of training one pass",
    explicit_bucket_boundaries_advisory=(1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
)


def start_counters() -> None:
    """Export turns, steps, memory shortages, abandoned passes and stale samples from the start, as zero."""
    start_at_zero(
        _turns,
        *({"outcome": state.value} for state in (TurnState.MADE, TurnState.DROPPED, TurnState.VOID)),
    )
    start_at_zero(_steps, *({"fate": fate} for fate in ("taken", "skipped")))
    for counter in (_shortages, _abandoned, _stale):
        start_at_zero(counter)


def count_pass(agents: int, *, took_s: float, ran_out_of_memory: bool) -> None:
    """Count a pass that was computed. What became of each agent is counted when its turn is closed."""
    _agents.record(agents)
    _pass_s.record(took_s)
    _shortages.add(int(ran_out_of_memory))


def count_closed_turn(
    state: TurnState, learned: Learned | NotLearned, tokens: int, outcomes: Iterable[EventOutcome]
) -> None:
    """Count a turn that made a version or was dropped. `outcomes` are those of its new events."""
    _turns.add(1, {"outcome": state.value})
    _tokens.add(tokens)
    _steps.add(learned.metrics.steps if isinstance(learned, Learned) else 0, {"fate": "taken"})
    _steps.add(len(learned.skipped), {"fate": "skipped"})
    for outcome, number in Counter(outcomes).items():
        _events.add(number, {"became": outcome.value})


def count_void_turn() -> None:
    """Count a turn whose work was lost: an event, its parent or its lease changed, or memory ran out."""
    _turns.add(1, {"outcome": TurnState.VOID.value})


def count_abandoned_pass() -> None:
    """Count a pass that was given up because its leases were lost."""
    _abandoned.add(1)


def count_stale_samples(events: int) -> None:
    """Count events that left the backlog because the champion has moved away from what they judge."""
    _stale.add(events)
