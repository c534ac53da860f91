"""The gate's ruling where both models ran in this process: its own decision functions, without a replica."""

from collections.abc import Mapping, Sequence

from daemon.settings import GateSettings
from engine.measurements import Absent
from ledger.versions.evidence import Pair
from serving.fleet.gate import AnswerStatistics, GateEvidence, GateLimits, Ruling, judge
from serving.fleet.parity import Parity

_SERVED_AS_TRAINED = Parity(
    probes=1, tokens=1, distance_nats=1.0, difference_nats=0.0, base_difference_nats=0.0
)


def rule(
    gate: Sequence[Pair],
    suite: Sequence[Pair],
    *,
    authors: Mapping[str, str],
    before: AnswerStatistics | None = None,
    after: AnswerStatistics | None = None,
) -> Ruling:
    """The ruling on a first try, with the default settings.

    `authors` are those who do not count alone, by uid.
    """
    return judge(
        GateEvidence(
            attempt=1,
            gate=tuple(gate),
            suite=tuple(suite),
            authors=authors,
            before=before or AnswerStatistics(),
            after=after or AnswerStatistics(),
            parity=_SERVED_AS_TRAINED,
            kl_nats=Absent("a rehearsal has no budget"),
        ),
        GateLimits(
            alpha=GateSettings().alpha,
            kl_nats_max=None,
            authors_min=1,
            suite_min=GateSettings().suite_min,
        ),
    )
