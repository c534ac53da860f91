"""A throw-away Postgres for tests, from the machine's own server binaries; nothing listens on the network.

Postgres refuses to run as root, so root runs it as the `postgres` user. `POSTGRES_URL` points at a server
that runs already and in which databases may be created.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, make_url, text

START_S_MAX = 60
_BINARIES = (
    "/usr/local/pgsql/bin",
    *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
)


class NoPostgres(Exception):
    """There is no server to be had here; the text says what is missing."""


@contextmanager
def server(*, durable: bool = False) -> Iterator[str]:
    """The URL of a server with a database `postgres`, until the block ends. Raises `NoPostgres`.

    Tests need none of it after a power cut; who measures asks for a `durable` one.
    """
    if url := os.environ.get("POSTGRES_URL"):
        yield url
        return
    initdb, postgres = _binary("initdb"), _binary("postgres")
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="clorad-pg-"))  # short: a socket's path has 107 characters
    try:
        if user is not None:
            shutil.chown(folder, user, user)
        as_user: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        data = folder / "data"
        _run([initdb, "-D", data, "-U", "clorad", "-A", "trust", "-E", "UTF8", "--no-sync"], folder, as_user)
        options = (
            f"fsync={'on' if durable else 'off'}",
            f"unix_socket_directories={folder}",
            "listen_addresses=",
            "max_connections=50",
        )
        command = [postgres, "-D", str(data), *(part for option in options for part in ("-c", option))]
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **as_user)
        try:
            url = f"postgresql+psycopg://clorad@/postgres?host={folder}"
            _wait_until_ready(url, running)
            yield url
        finally:
            running.terminate()  # "smart": waits for clients
            running.send_signal(2)  # "fast": does not
            running.wait(timeout=START_S_MAX)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(url: str) -> str:
    """The URL of a fresh database on that server."""
    name = f"clorad_{uuid4().hex[:12]}"
    execute(url, f"CREATE DATABASE {name}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def drop_database(url: str) -> None:
    """Forget a database made by `new_database`."""
    named = make_url(url)
    execute(
        named.set(database="postgres").render_as_string(hide_password=False),
        f"DROP DATABASE IF EXISTS {named.database} WITH (FORCE)",
    )


def empty_database(url: str, tables: Sequence[str]) -> None:
    """The tables are empty and nobody is connected, whatever an earlier test left open."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    quoted = ", ".join(f'"{table}"' for table in tables)
    execute(url, f"{others} AND pid <> pg_backend_pid()", f"TRUNCATE {quoted} RESTART IDENTITY CASCADE")


def execute(url: str, *statements: str) -> None:
    """The statements are done, each in a transaction of its own."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def _binary(name: str) -> str:
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_BINARIES]))
    if path is None:
        raise NoPostgres(f"{name} of Postgres is missing (apt-get install postgresql)")
    return path


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise NoPostgres("Postgres does not run as root, and there is no user postgres") from None


def _run(command: list[object], folder: Path, as_user: dict[str, Any]) -> None:
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=START_S_MAX, **as_user
    )
    if done.returncode != 0:
        raise NoPostgres(f"initdb failed: {done.stderr.strip().splitlines()[-1:]}")


def _wait_until_ready(url: str, running: "subprocess.Popen[bytes]") -> None:
    import time

    from sqlalchemy.exc import OperationalError

    deadline_s = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline_s:
        if running.poll() is not None:
            raise NoPostgres(f"postgres ended with code {running.returncode}")
        try:
            execute(url, "SELECT 1")
            return
        except OperationalError:
            time.sleep(0.1)
    raise NoPostgres(f"postgres was not ready within {START_S_MAX} s")
