"""The progress of the demo at one moment: DemoRun writes it, the view shows it."""

from collections import deque
from dataclasses import dataclass, field

SAMPLES_KEPT = 24  # last held-out answers that the displayed accuracy is about


@dataclass(slots=True, kw_only=True)
class AgentProgress:
    """One agent's row of the view."""

    agent: str
    waves: int
    wave: int = 0  # announced
    followed: int = 0  # waves whose rules the agent follows
    version: str = "v0"
    backlog: int = 0
    learning: bool = False
    verdict: str = ""  # the last one, with its reason
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=SAMPLES_KEPT))
    history: list[float] = field(default_factory=list)  # accuracy, one value a few seconds
    evaluated: float | None = None  # accuracy in an evaluation; None once there are later samples

    @property
    def accuracy(self) -> float:
        """Share of the last held-out prompts on which a rule fires that were answered as wanted."""
        if self.evaluated is not None:
            return self.evaluated
        return sum(self.recent) / len(self.recent) if self.recent else 0.0


@dataclass(slots=True, kw_only=True)
class DemoProgress:
    """Everything that the view shows."""

    title: str
    broker: str
    agents: dict[str, AgentProgress]
    headline: str = ""
    seconds: float = 0.0
    requests: int = 0
    failed: int = 0
    requests_per_s: float = 0.0
    stored: int = 0
    dead: int = 0
    promoted: int = 0
    kills: int = 0
    news: deque[str] = field(default_factory=lambda: deque(maxlen=8))

    @property
    def waves(self) -> tuple[int, int]:
        """How many waves are followed, and how many there are."""
        return (
            sum(agent.followed for agent in self.agents.values()),
            sum(agent.waves for agent in self.agents.values()),
        )
