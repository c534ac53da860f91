"""Ends the process when its loop has been silent for too long: a hang inside a library cannot be interrupted.

`faulthandler` does it outside the interpreter, so also while a C call holds the GIL. The supervisor starts
the process again, and the ledger says where to go on.
"""

import faulthandler
from types import TracebackType

EXIT_HUNG = 1
"""What `faulthandler` exits with."""

_STANDARD_ERROR = 2


class Watchdog:
    """Watches while entered. `alive` must be called more often than every `silent_s_max` seconds.

    Otherwise the stack of every thread goes to standard error and the process exits with `EXIT_HUNG`. A
    process that was frozen (SIGSTOP) for longer may end so when it goes on. There is one timer for a process.
    """

    def __init__(self, *, silent_s_max: float) -> None:
        self._silent_s_max = silent_s_max

    def alive(self) -> None:
        """The loop came round: the time begins anew."""
        faulthandler.dump_traceback_later(self._silent_s_max, exit=True, file=_STANDARD_ERROR)

    def __enter__(self) -> "Watchdog":
        self.alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, where: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
