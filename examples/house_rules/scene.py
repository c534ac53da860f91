"""What there is to see at one moment of the play; the view shows it, the director fills it in."""

from collections import deque
from dataclasses import dataclass, field

SAMPLES_KEPT = 24  # last held-out answers that the displayed accuracy is about


@dataclass(slots=True, kw_only=True)
class AgentScene:
    """One agent as the audience sees it."""

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
    examined: float | None = None  # accuracy in an exam that was not followed by other samples yet

    @property
    def accuracy(self) -> float:
        """Of the last held-out prompts on which a rule fires."""
        if self.examined is not None:
            return self.examined
        return sum(self.recent) / len(self.recent) if self.recent else 0.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """Everything on stage."""

    title: str
    broker: str
    agents: dict[str, AgentScene]
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
    def progress(self) -> tuple[int, int]:
        """Waves followed, of all."""
        return (
            sum(agent.followed for agent in self.agents.values()),
            sum(agent.waves for agent in self.agents.values()),
        )
