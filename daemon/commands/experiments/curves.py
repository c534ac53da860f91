"""Draws what experiments reach by step, reward and measures, as SVG, and a page with pictures and a table."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.commands.experiments.results import ResultFile

PICTURE, PAGE = "curves.svg", "index.html"
_WIDTH, _HEIGHT, _LEFT, _TOP, _LEGEND = 720, 320, 48, 16, 180
_COLOURS = ("#0b6e99", "#c44536", "#3d8361", "#8d5a97", "#c98b1a", "#5b6c7d", "#b0417f", "#2f4b7c")
_COLUMNS = ("experiment", "steps", "first reward", "last reward", "seconds a step", "state")


def write_page(folder: Path, results: Sequence[ResultFile]) -> Path:
    """Write the picture of the rewards, and the page, with one of each measure. Returns the page's path."""
    picture = curves_svg(results)
    (folder / PICTURE).write_text(picture)
    steps = (step for experiment in results for step in experiment.steps)
    measures = sorted({name for step in steps for name in step.get("measures", ())})
    measured = "".join(
        f"<h2>{html.escape(name)}</h2>{curves_svg(results, title=name, measure=name)}" for name in measures
    )
    page = folder / PAGE
    page.write_text(
        '<!doctype html><meta charset="utf-8"><title>experiments</title>'
        "<style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em 1em;text-align:left}</style>"
        f"{picture}<table><tr>{''.join(f'<th>{name}</th>' for name in _COLUMNS)}</tr>"
        f"{''.join(map(_row, results))}</table>{measured}\n"
    )
    return page


def curves_svg(
    results: Sequence[ResultFile],
    *,
    title: str = "mean reward of a step's rollouts",
    measure: str | None = None,
) -> str:
    """One curve for each experiment, of its rewards or of a measure.

    Values range from the smallest seen (or 0) to the largest (or 1).
    """
    curves = [_curve(experiment, measure) for experiment in results]
    low = min([0.0, *(value for curve in curves for _, value in curve)])
    high = max([1.0, *(value for curve in curves for _, value in curve)])
    steps = max([2, *(len(experiment.steps) for experiment in results)])
    right, bottom = _WIDTH - _LEGEND, _HEIGHT - 40

    def x(place: int) -> float:
        return _LEFT + place * (right - _LEFT) / (steps - 1)

    def y(value: float) -> float:
        return bottom - (value - low) * (bottom - _TOP) / (high - low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        f' font-size="12"><title>{html.escape(title)}</title><rect width="{_WIDTH}" height="{_HEIGHT}"'
        ' fill="#fff"/>'
    ]
    for tick in range(5):
        value = low + tick * (high - low) / 4
        lines.append(f'<path d="M{_LEFT} {y(value):.1f}H{right}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    for place in range(0, steps, max(1, steps // 10)):
        lines.append(f'<text x="{x(place):.1f}" y="{bottom + 18}" text-anchor="middle">{place + 1}</text>')
    lines.append(f'<text x="{(_LEFT + right) / 2:.0f}" y="{bottom + 34}" text-anchor="middle">step</text>')
    for number, (experiment, curve) in enumerate(zip(results, curves, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in curve)
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = _TOP + 12 + 18 * number
        lines.append(
            f'<text x="{right + 14}" y="{at}" fill="{colour}">{html.escape(experiment.name[:24])}</text>'
        )
    return "".join([*lines, "</svg>\n"])


def _curve(experiment: ResultFile, measure: str | None) -> list[tuple[int, float]]:
    """Place and value of each step that has one."""
    values: list[Mapping[str, Any]] = [
        step if measure is None else step.get("measures", {}) for step in experiment.steps
    ]
    name = "reward" if measure is None else measure
    return [(place, float(step[name])) for place, step in enumerate(values) if name in step]


def _row(results: ResultFile) -> str:
    rewards = [f"{step['reward']:.2f}" for step in results.steps]
    seconds = [step["step_s"] for step in results.steps]
    cells = (
        results.name,
        f"{len(results.steps)} of {results.plan.get('steps', 0)}",
        rewards[0] if rewards else "",
        rewards[-1] if rewards else "",
        f"{sum(seconds) / len(seconds):.1f}" if seconds else "",
        results.end or "not over",
    )
    return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
