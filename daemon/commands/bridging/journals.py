"""`clorad bridge forget`: takes an author out of the bridges' journals on this machine."""

from daemon.console import CommandFailed, console, count
from daemon.settings import Settings
from feedback.bridges.journal import forget_authors


def forget(settings: Settings, author: str, *, dry_run: bool) -> None:
    """Print how many entries had the name, which is gone afterwards. Raises `CommandFailed`."""
    number = forgotten_entries(settings, {author}, dry_run=dry_run)
    console().print(f"{count(number, 'entry', 'entries')} of the journals named them")


def forgotten_entries(settings: Settings, names: set[str] | frozenset[str], *, dry_run: bool) -> int:
    """How many entries had one of the names. Raises `CommandFailed` where a journal cannot be changed."""
    try:
        return forget_authors(settings.bridges.path, names, dry_run=dry_run)
    except OSError as fault:
        why = fault.strerror or type(fault).__name__
        raise CommandFailed(f"bridges.path: {settings.bridges.path}: {why}") from None
