"""A role's loops, each in a thread of its own: all of them, or none."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from threading import Event

import structlog

log = structlog.get_logger(__name__)


class StageEnded(Exception):
    """A loop that should have gone on returned. The process ends; the supervisor starts it again."""


def run_together(stages: Mapping[str, Callable[[], None]], stopping: Event) -> None:
    """Run every stage in its own thread until `stopping` is set or one of them ends.

    Stages are loops; one that ends by itself is a fault even if it raised nothing. The others are
    told to stop and waited for, and the first fault is raised so that the process exits non-zero.
    """
    with ThreadPoolExecutor(max_workers=len(stages), thread_name_prefix="stage") as pool:
        running = {pool.submit(run): name for name, run in stages.items()}
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        asked = stopping.is_set()
        names = ", ".join(sorted(running[stage] for stage in ended))
        if not asked:
            log.error("stage ended by itself, stopping the others", stages=names)
        stopping.set()
    for stage in [*ended, *(set(running) - ended)]:
        stage.result()
    if not asked:
        raise StageEnded(names)
