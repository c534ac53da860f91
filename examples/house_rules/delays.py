"""Measures how long corrections took to change answers, in parts. The demo and `bench.freshness` use it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ledger.reports.timeline import PARTS, Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """From Kafka's acknowledgement of an agent's last correction to the first answer by the new version."""

    agent: str
    version: str
    parts_s: Mapping[str, float]  # of `ledger.reports.timeline.PARTS`; all of them if `is_complete`

    @property
    def is_complete(self) -> bool:
        """Whether every part is known."""
        return tuple(self.parts_s) == PARTS

    @property
    def total_s(self) -> float:
        """All parts together."""
        return sum(self.parts_s.values())

    @property
    def text(self) -> str:
        """The delay in words."""
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.parts_s.items())
        return f"{self.version} answers {self.total_s:.1f} s after the last correction ({parts})"

    def to_json(self) -> dict[str, object]:
        """The delay for programs."""
        rounded = {part: round(seconds, 2) for part, seconds in self.parts_s.items()}
        return {"agent": self.agent, "version": self.version, "s": round(self.total_s, 2), "parts_s": rounded}


def acknowledgements(journal: Iterable[Mapping[str, object]]) -> dict[str, float]:
    """When Kafka acknowledged each event of a journal (Unix time), by uid."""
    return {f"{line['source']}#{line['id']}": float(str(line["acknowledged_s"])) for line in journal}


def delays(
    timelines: Iterable[Timeline],
    acknowledged_s: Mapping[str, float],
    answered_s: Mapping[tuple[str, str], float] | None = None,
) -> list[Delay]:
    """The delay of each timeline. `answered_s`: when somebody saw the first answer, by agent and version."""
    return [
        Delay(
            agent=timeline.agent,
            version=timeline.version,
            parts_s=timeline.parts_s(
                acknowledged_s=acknowledged_s.get(timeline.correction),
                answered_s=(answered_s or {}).get((timeline.agent, timeline.version)),
            ),
        )
        for timeline in timelines
    ]
