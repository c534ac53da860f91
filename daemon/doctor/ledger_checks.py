"""Checks of the ledger: whether it is there, of this schema, sound, private, and has room on its disk."""

from collections.abc import Iterator
from contextlib import contextmanager

from daemon.doctor.checking import CheckGroup, HealthCheck, Undone
from daemon.doctor.faults import Fault, FoundFault
from daemon.settings import Settings
from daemon.upkeep.capacity import build_capacity
from ledger.database import Database
from ledger.errors import LedgerRefused, LedgerUnavailable
from ledger.files import file_of_url, without_password
from ledger.intake import transaction
from ledger.revisions import known_revisions, require_newest, revision_of

_PUBLIC = 0o077


def ledger_checks(settings: Settings) -> CheckGroup:
    """The checks of this ledger."""
    return CheckGroup(
        name="ledger",
        checks=(
            HealthCheck(name="schema", run=lambda: _is_usable(settings)),
            HealthCheck(name="file mode", run=lambda: _is_private(settings)),
            HealthCheck(name="room", run=lambda: _has_room(settings)),
        ),
    )


@contextmanager
def ledger_of(settings: Settings) -> Iterator[Database]:
    """The ledger for a check that needs it. Raises `Undone` if it cannot be read: its own checks say why."""
    path = file_of_url(settings.ledger.url)
    if path is not None and not path.is_file():
        raise Undone("there is no ledger")
    database = Database(settings.ledger.url)
    try:
        with database.read() as connection:
            require_newest(connection)
        yield database
    except (LedgerUnavailable, LedgerRefused):
        raise Undone("the ledger cannot be read") from None
    finally:
        database.close()


def read_topic_ids(settings: Settings, topics: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """By topic, the ids under which intake has read it. Raises `Undone`."""
    with ledger_of(settings) as database:
        return {topic: frozenset(transaction.known_topic_ids(database, topic)) for topic in topics}


def _is_usable(settings: Settings) -> Iterator[FoundFault]:
    where, path = without_password(settings.ledger.url), file_of_url(settings.ledger.url)
    if path is not None and not path.is_file():
        yield Fault.LEDGER_MISSING.at(where, "there is no such file")
        return
    database = Database(settings.ledger.url)
    try:
        with database.read() as connection:
            revision = revision_of(connection)
    except LedgerUnavailable as fault:
        yield Fault.LEDGER_AWAY.at(where, f"the ledger does not answer: {fault}")
        return
    except LedgerRefused as refusal:  # damaged, without rights, or on a file system without a log
        yield Fault.LEDGER_REFUSED.at(where, str(refusal))
        return
    finally:
        database.close()
    if revision is None:
        yield Fault.LEDGER_MISSING.at(where, "the database has no ledger")
    elif revision != known_revisions()[-1]:
        text = f"it has schema {revision[:20]}, this clorad needs {known_revisions()[-1]}"
        yield Fault.LEDGER_SCHEMA.at(where, text)


def _is_private(settings: Settings) -> Iterator[FoundFault]:
    path = file_of_url(settings.ledger.url)
    if path is None:
        raise Undone("it is a database server's")
    if not path.is_file():
        raise Undone("there is no ledger")
    if (mode := path.stat().st_mode) & _PUBLIC:
        yield Fault.LEDGER_MODE.at(str(path), f"others may read it: mode {mode & 0o777:04o}")


def _has_room(settings: Settings) -> Iterator[FoundFault]:
    with ledger_of(settings) as database:
        measures = build_capacity(settings, database).measures()
    for measure in measures:
        if measure.is_over:
            fault = Fault.DISK_FULL if measure.name.startswith("disk") else Fault.LEDGER_FULL
            yield fault.at(measure.name, measure.text)
