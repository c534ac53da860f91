"""Shows the progress of the demo: a live table in a terminal, plain lines elsewhere, an SVG at the end."""

import time
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.house_rules.progress import AgentProgress, DemoProgress

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 28
_PLAIN_S = 10.0
_WIDTH = 118


class View:
    """Shows the progress while its `with` block runs."""

    def __init__(self, progress: DemoProgress, console: Console | None = None) -> None:
        self._progress = progress
        self._console = console or Console()
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True)
            if self._console.is_terminal
            else None
        )
        self._plain_due = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, line: str) -> None:
        """Show one line of news, with the time."""
        self._progress.news.append(f"{self._progress.seconds:5.0f} s  {line}")
        if self._live:
            self.refresh()
        else:
            self._console.print(
                f"{self._progress.seconds:5.0f} s  {line}", highlight=False, markup=False, soft_wrap=True
            )

    def refresh(self) -> None:
        """Show the progress as it is now; without a terminal only every ten seconds."""
        if self._live:
            self._live.update(picture(self._progress))
        elif time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + _PLAIN_S
            self._console.print(_line(self._progress), highlight=False, markup=False, soft_wrap=True)

    def save_svg(self, path: Path) -> None:
        """Write the progress as it is now to an SVG file."""
        recorder = Console(record=True, width=_WIDTH, file=path.with_suffix(".txt").open("w"))
        recorder.print(picture(self._progress))
        recorder.file.close()
        recorder.save_svg(str(path), title=self._progress.title)


def picture(progress: DemoProgress) -> RenderableType:
    """The progress as rich renders it."""
    table = Table(expand=True, box=None, pad_edge=False)
    for name in ("agent", "follows its rules", "", "version", "waves", "waiting", "last verdict"):
        table.add_column(name, no_wrap=name != "last verdict")
    for agent in progress.agents.values():
        table.add_row(
            Text(agent.agent, style="bold"),
            Text(f"{agent.accuracy:4.0%}", style="green" if agent.accuracy >= 0.9 else "yellow"),
            Text(sparkline(agent.history), style="cyan"),
            agent.version,
            f"{agent.followed} of {agent.waves}",
            f"{agent.backlog}{' ⟳' if agent.learning else ''}",
            Text(agent.verdict),
        )
    followed, waves = progress.waves
    numbers = (
        f"{progress.requests} requests, {progress.requests_per_s:.0f}/s, {progress.failed} failed · "
        f"{progress.stored} events stored, {progress.dead} dead letters · {progress.promoted} promoted"
        + (f" · {progress.kills} killed" if progress.kills else "")
    )
    news = Text("\n".join(progress.news), style="dim")
    body = Group(table, Text(), Text(numbers), Text(), news)
    return Panel(
        body,
        title=f"{progress.title} · {progress.headline}",
        subtitle=(
            f"{progress.seconds:.0f} s · waves followed: {followed} of {waves} · broker: {progress.broker}"
        ),
    )


def sparkline(values: list[float]) -> str:
    """Values between 0 and 1 as bars, oldest first. Of many values each bar is the mean of several."""
    width = min(len(values), _HISTORY)
    edges = [len(values) * bar // width for bar in range(width + 1)] if width else []
    means = [fmean(values[first:last]) for first, last in pairwise(edges)]
    return "".join(_BARS[min(7, int(mean * 8))] for mean in means)


def _line(progress: DemoProgress) -> str:
    agents = ", ".join(_of_agent(agent) for agent in progress.agents.values())
    return (
        f"{progress.seconds:5.0f} s  {agents} | {progress.requests} requests, {progress.failed} failed, "
        f"{progress.stored} stored, {progress.dead} dead"
    )


def _of_agent(agent: AgentProgress) -> str:
    learning = " learning" if agent.learning else ""
    return f"{agent.agent} {agent.accuracy:.0%} {agent.version}{learning}"
