"""Shows people on a terminal that a command works, and on what; programs and files get nothing of it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on standard error that this goes on, and for how long, until the block ends."""
    with _progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show how many of `total` steps have begun. Yields a function that hears the name of each."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with _progress(SpinnerColumn(), *columns, TimeElapsedColumn()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda step: progress.update(task, advance=1, description=f"{what}: {step}")


def _progress(*columns: object) -> Progress:
    """On standard error, which has no JSON documents and no tables; nothing where it is no terminal."""
    return Progress(
        *columns,  # type: ignore[arg-type]
        console=Console(file=sys.stderr, markup=False),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
