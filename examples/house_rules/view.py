"""The live view: a table that changes in a terminal, plain lines elsewhere, one SVG picture at the end."""

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

from examples.house_rules.scene import AgentScene, Scene

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 28
_PLAIN_S = 10.0
_WIDTH = 118


class View:
    """Shows the scene until it is left."""

    def __init__(self, scene: Scene, console: Console | None = None) -> None:
        self._scene = scene
        self._console = console or Console()
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True)
            if self._console.is_terminal
            else None
        )
        self._told = 0
        self._plain_due = 0.0
        self._seen_news: list[str] = []

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """One piece of news, now."""
        self._scene.news.append(f"{self._scene.seconds:5.0f} s  {line}")
        if self._live:
            self.refresh()
        else:
            self._console.print(
                f"{self._scene.seconds:5.0f} s  {line}", highlight=False, markup=False, soft_wrap=True
            )

    def refresh(self) -> None:
        """The scene as it is now is on the screen; in plain form one line every few seconds."""
        if self._live:
            self._live.update(picture(self._scene))
        elif time.monotonic() >= self._plain_due:
            self._plain_due = time.monotonic() + _PLAIN_S
            self._console.print(_line(self._scene), highlight=False, markup=False, soft_wrap=True)

    def save_svg(self, path: Path) -> None:
        """The scene as it is now is a picture."""
        recorder = Console(record=True, width=_WIDTH, file=path.with_suffix(".txt").open("w"))
        recorder.print(picture(self._scene))
        recorder.file.close()
        recorder.save_svg(str(path), title=self._scene.title)


def picture(scene: Scene) -> RenderableType:
    """The whole scene."""
    table = Table(expand=True, box=None, pad_edge=False)
    for name in ("agent", "follows its rules", "", "version", "waves", "waiting", "last verdict"):
        table.add_column(name, no_wrap=name != "last verdict")
    for agent in scene.agents.values():
        table.add_row(
            Text(agent.agent, style="bold"),
            Text(f"{agent.accuracy:4.0%}", style="green" if agent.accuracy >= 0.9 else "yellow"),
            Text(sparkline(agent.history), style="cyan"),
            agent.version,
            f"{agent.followed} of {agent.waves}",
            f"{agent.backlog}{' ⟳' if agent.learning else ''}",
            Text(agent.verdict),
        )
    done, total = scene.progress
    numbers = (
        f"{scene.requests} requests, {scene.requests_per_s:.0f}/s, {scene.failed} failed · "
        f"{scene.stored} events stored, {scene.dead} dead letters · {scene.promoted} promoted"
        + (f" · {scene.kills} killed" if scene.kills else "")
    )
    news = Text("\n".join(scene.news), style="dim")
    body = Group(table, Text(), Text(numbers), Text(), news)
    return Panel(
        body,
        title=f"{scene.title} · {scene.headline}",
        subtitle=f"{scene.seconds:.0f} s · waves followed: {done} of {total} · broker: {scene.broker}",
    )


def sparkline(values: list[float]) -> str:
    """Values between 0 and 1 as bars, oldest first; where they are many, each bar is a stretch's mean."""
    width = min(len(values), _HISTORY)
    edges = [len(values) * bar // width for bar in range(width + 1)] if width else []
    means = [fmean(values[first:last]) for first, last in pairwise(edges)]
    return "".join(_BARS[min(7, int(mean * 8))] for mean in means)


def _line(scene: Scene) -> str:
    agents = ", ".join(_of_agent(agent) for agent in scene.agents.values())
    return (
        f"{scene.seconds:5.0f} s  {agents} | {scene.requests} requests, {scene.failed} failed, "
        f"{scene.stored} stored, {scene.dead} dead"
    )


def _of_agent(agent: AgentScene) -> str:
    learning = " learning" if agent.learning else ""
    return f"{agent.agent} {agent.accuracy:.0%} {agent.version}{learning}"
