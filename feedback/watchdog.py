"""Ends the process if its loop has not reported for too long: a hang inside a library cannot be interrupted.

`faulthandler` does it outside the interpreter, so also while a C call has the GIL. The supervisor starts the
process again, and it reads on at the ledger's offsets.
"""

import faulthandler
from types import TracebackType

EXIT_HUNG = 1
"""The exit code of `faulthandler`."""

_STANDARD_ERROR = 2


class Watchdog:
    """Watches inside a `with` block. `alive` must be called more often than every `silent_s_max` seconds.

    Otherwise the stack of every thread goes to standard error and the process exits with `EXIT_HUNG`. A
    process that was frozen (SIGSTOP) for longer may end so when it goes on. There is one timer for a process.
    """

    def __init__(self, *, silent_s_max: float) -> None:
        self._silent_s_max = silent_s_max

    def alive(self) -> None:
        """Report that the loop goes on: the time begins again."""
        faulthandler.dump_traceback_later(self._silent_s_max, exit=True, file=_STANDARD_ERROR)

    def __enter__(self) -> "Watchdog":
        self.alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, where: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
