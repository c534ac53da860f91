"""What commands print: tables and short lines for people, JSON for programs, refusals in one line.

Texts that strangers wrote are shown to the operator who asks for them, without their control characters:
a correction must not be able to move somebody's cursor.
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
    from ledger.versions.evidence import Judgement

_PLAIN_COLUMNS = 160  # where nobody's window limits us

_VERDICTS = {
    "promote": ("promoted", "green"),
    "refuse": ("refused", "red"),
    "abstain": ("not decided", "yellow"),
    "rollback": ("rolled back", "magenta"),
    "canary": ("canary", "cyan"),
}


class CommandFailed(Exception):
    """The answer is no, or there is none. The text is one line for the person who asked."""

    def __init__(self, why: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(why)
        self.code = code


def console() -> Console:
    """Standard output: as wide as the window, or wide enough for grep."""
    terminal = sys.stdout.isatty()
    return Console(markup=False, highlight=False, width=None if terminal else _PLAIN_COLUMNS)


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def table(*columns: str) -> Table:
    """An empty table without lines; columns that start with `>` are right-aligned."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return made


def fields(pairs: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and what they are, one a line."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    return made


def short(text: str, chars_max: int = 90) -> str:
    """One line of it, harmless to a terminal."""
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
    """`3 min ago`; a dash where it never was."""
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
    """Local time to the second."""
    return "–" if then_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then_s))


def verdict(name: str) -> Text:
    """What a verdict means for the version, in its colour."""
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
    """The gate's numbers in words: how the version compares with its parent, on how much."""
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


def joined(words: Sequence[str], empty: str = "–") -> str:
    """Words in a row."""
    return ", ".join(words) if words else empty
