"""The output of commands: tables and short lines for people, JSON for programs, refusals in one line.

Texts from events are shown without control characters: a correction must not be able to control the
operator's terminal.
"""

import json
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.exit_codes import ExitCode

if TYPE_CHECKING:
    from ledger.versions.evidence import Evidence, Judgement

_PLAIN_COLUMNS = 160  # if standard output is no terminal

_VERDICTS = {
    "promote": ("promoted", "green"),
    "refuse": ("refused", "red"),
    "abstain": ("not decided", "yellow"),
    "rollback": ("rolled back", "magenta"),
    "canary": ("canary", "cyan"),
    "confirm": ("confirmed", "cyan"),
    "keep": ("kept", "green"),
    "reinstate": ("brought back", "cyan"),
}


class CommandFailed(Exception):
    """The command was refused, or could not answer. The text is one line for the person who ran it."""

    def __init__(self, reason: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(reason)
        self.code = code


def console() -> Console:
    """Standard output, as wide as the terminal; else 160 columns, so that `grep` finds whole lines."""
    terminal = sys.stdout.isatty()
    return Console(markup=False, highlight=False, width=None if terminal else _PLAIN_COLUMNS)


def show_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def table(*columns: str) -> Table:
    """An empty table without lines; columns that start with `>` are right-aligned."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        right = column.startswith(">")
        rows.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return rows


def fields(pairs: Iterable[tuple[str, str | Text]]) -> Table:
    """A table of names and values, one pair in each line."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    rows.add_column(style="bold")
    rows.add_column(overflow="fold")
    for name, value in pairs:
        rows.add_row(name, value)
    return rows


def short(text: str, chars_max: int = 90) -> str:
    """The text in one line of at most `chars_max` characters, harmless to a terminal."""
    line = " ".join(harmless(text).split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def harmless(text: str) -> str:
    """The text without control and direction characters; line breaks and tabs stay."""
    return "".join(
        sign
        if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )


def ago(then_s: float | None, now_s: float | None = None) -> str:
    """`3 min ago`; a dash for None."""
    if then_s is None:
        return "–"
    return f"{lasting((time.time() if now_s is None else now_s) - then_s)} ago"


def lasting(seconds: float) -> str:
    """`9 s`, `3 min`, `5 h`, `12 d`."""
    seconds = max(0.0, seconds)
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def moment(then_s: float | None) -> str:
    """Local time to the second; a dash for None."""
    return "–" if then_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then_s))


def verdict(name: str) -> Text:
    """A word for the verdict, in its colour."""
    word, style = _VERDICTS.get(name, (name, ""))
    return Text(word, style=style)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 event`, `2 events`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def byte_size(size_bytes: int) -> str:
    """`812 B`, `3.4 MiB`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size, units = size_bytes / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.1f} {units[0]}"


def judgement(numbers: "Judgement | None") -> str:
    """The gate's numbers in words: how often the version won and lost against its parent."""
    if numbers is None:
        return ""
    wins, losses = count(numbers.wins, "win"), count(numbers.losses, "loss", "losses")
    words = [
        f"{wins}, {losses}, {count(numbers.ties, 'tie')}",
        f"p = {numbers.p:.4f} (needs ≤ {numbers.alpha_k:.4f})",
    ]
    if numbers.suite:
        words.append(f"no harm: {numbers.suite_wins} better, {numbers.suite_losses} worse of {numbers.suite}")
    return "; ".join(words)


def live_test(evidence: "Evidence") -> str:
    """The test on live outcomes in words; empty where there was none, or the reasons say all."""
    if evidence.live is None or evidence.live.alpha_k is None:
        return ""
    capital, needed = evidence.live.outcomes["canary"]["capital"], 1.0 / evidence.live.alpha_k
    return f"try {evidence.attempt}: capital {capital:,.1f} (needs ≥ {needed:,.0f})"


def joined(words: Sequence[str], empty: str = "–") -> str:
    """The words with commas between them; `empty` if there are none."""
    return ", ".join(words) if words else empty
