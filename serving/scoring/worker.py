"""Runs a scorer of the user's own, a Python function, in a process that may be ended at any moment.

`serving.scoring.entry_points` starts it with the entry point's name, a socket, and the seconds that one call
may take. Its standard output and error go nowhere: they may quote what people wrote.
"""

import json
import signal
import socket
import sys
from importlib.metadata import entry_points
from types import TracebackType

from serving.scoring.own import GROUP, ScorerFunction

_FAULT_CHARS_MAX = 100


def main() -> None:
    """Answer requests, one line of JSON each, until the other end closes the socket."""
    name, descriptor, wait_s_max = sys.argv[1:]
    channel = socket.socket(fileno=int(descriptor))

    def report(kind: type[BaseException], _fault: BaseException, _trace: TracebackType | None) -> None:
        """An exception ends the process; its type is told, its text may quote somebody."""
        _send(channel, {"fault": kind.__name__[:_FAULT_CHARS_MAX]})

    sys.excepthook = report
    [entry] = entry_points(group=GROUP, name=name)
    function: ScorerFunction = entry.load()
    _send(channel, {"ready": True})
    for line in channel.makefile("rb"):
        # The operating system ends the process then, whatever the function does.
        signal.setitimer(signal.ITIMER_REAL, float(wait_s_max))
        request = json.loads(line)
        numbers = function(request["messages"], request["wanted"], request["answers"])
        _send(channel, {"scores": [float(number) for number in numbers]})
        signal.setitimer(signal.ITIMER_REAL, 0)


def _send(channel: socket.socket, reply: dict[str, object]) -> None:
    channel.sendall(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
