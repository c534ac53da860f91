"""What a run of the demo shows: the short one of every day, the whole one, or the one that kills things."""

from dataclasses import dataclass
from pathlib import Path

from examples.house_rules.people.load import RUSHING_MAX
from examples.house_rules.progress import AgentProgress, DemoProgress
from examples.house_rules.world import World

RUSHING = 12  # threads of the load during a judgement; the full demo has more


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Which world is run, and how."""

    world: World
    world_file: Path
    agents: tuple[str, ...]
    whole: bool  # with operator, environment, load and poison
    full: bool  # with every wave of the world, more requests, and the careless developers
    chaos: bool
    n: int  # questions of each kind in an evaluation
    seed: int
    seconds_max: float

    @property
    def rushing(self) -> int:
        """Threads that ask without pauses while a candidate is judged."""
        return RUSHING_MAX if self.full else RUSHING

    def progress(self, broker: str) -> DemoProgress:
        """The progress at the start: every agent, nothing followed yet."""
        agents = {agent: AgentProgress(agent=agent, waves=self.world.waves(agent)) for agent in self.agents}
        return DemoProgress(title=self.world.title, broker=broker, agents=agents)
