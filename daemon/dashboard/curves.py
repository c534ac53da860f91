"""Places the points of a learning curve in a drawing: accuracy on the gate's prompts by version."""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.reports.history.gate_accuracy import GateAccuracy
from ledger.versions.decisions import Verdict

WIDTH, HEIGHT = 720, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 16, 14, 30
POINTS_MAX = 60
"""Versions that a curve shows, the newest."""

_SERVES = (Verdict.PROMOTE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One version in the drawing."""

    x: float
    y: float  # of the version's accuracy
    y_before: float  # of its champion's, on the same prompts
    judged: GateAccuracy
    promoted: bool
    is_labelled: bool  # few enough versions are, so that their names do not overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The drawing. `line` goes through the promoted versions."""

    points: tuple[CurvePoint, ...]
    line: str  # the attribute `points` of a polyline
    grid: tuple[tuple[float, str], ...]  # y and its label

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def curve(judged: Sequence[GateAccuracy]) -> Curve:
    """The learning curve of one agent; its versions in their order."""
    shown = judged[-POINTS_MAX:]
    every = max(1, -(-len(shown) // 12))
    points = tuple(
        CurvePoint(
            x=_x(place, len(shown)),
            y=_y(accuracy.after),
            y_before=_y(accuracy.before),
            judged=accuracy,
            promoted=accuracy.verdict in _SERVES,
            is_labelled=(len(shown) - 1 - place) % every == 0,
        )
        for place, accuracy in enumerate(shown)
    )
    return Curve(
        points=points,
        line=_line([(point.x, point.y) for point in points if point.promoted]),
        grid=tuple((_y(level), f"{level:.0%}") for level in (0.0, 0.5, 1.0)),
    )


def spark(versions: Sequence[GateAccuracy], *, width: int = 64, height: int = 18) -> str:
    """The promoted versions' accuracy as the `points` of a polyline; empty where there are fewer than two."""
    shown = [accuracy for accuracy in versions if accuracy.verdict in _SERVES][-20:]
    if len(shown) < 2:
        return ""
    step = (width - 4) / (len(shown) - 1)
    return _line(
        [(2 + place * step, height - 2 - (height - 4) * judged.after) for place, judged in enumerate(shown)]
    )


def _x(place: int, count: int) -> float:
    room = WIDTH - LEFT - RIGHT
    return LEFT + (room / 2 if count == 1 else 12 + (room - 24) * place / (count - 1))


def _y(level: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - level)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
