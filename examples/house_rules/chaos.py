"""Kills roles while the demo runs, where a crash is hardest to get right, and restarts a replica empty.

Each role starts with a failpoint. It kills itself there with SIGKILL and is started again with the next one.
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Thread

from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.stack import Stack

FAILPOINTS: Mapping[str, tuple[str, ...]] = {
    # In the middle of training; after the version directory has its name and before the ledger has the
    # version; right after the ledger has it.
    "learner": ("learner-training:15", "learner-renamed", "learner-recorded"),
    "intake": ("intake-before-commit:8",),
    "fleet": ("fleet-swapping",),
    "gateway": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One process that was killed, and where."""

    role: str
    phase: str


class Chaos:
    """Starts the roles, and starts each again after its failpoint killed it."""

    def __init__(self, stack: Stack, ledger: LedgerView, failpoints: Mapping[str, tuple[str, ...]]) -> None:
        self._stack = stack
        self._ledger = ledger
        self._failpoints = {role: list(failpoints.get(role, ())) for role in stack.roles}
        self._armed: dict[str, str | None] = {}
        self._replica: Thread | None = None
        self.kills: list[Kill] = []
        self.killed_passes: set[int] = set()

    def start(self) -> None:
        """Start every role with its first failpoint."""
        for role in self._stack.roles:
            self._start(role)

    def tick(self, show: Callable[[str], None]) -> None:
        """Start roles again that their failpoint killed. A role that ended otherwise has a fault."""
        for name, role in self._stack.roles.items():
            if role.ended() != -signal.SIGKILL or (phase := self._armed[name]) is None:
                continue
            self.kills.append(Kill(role=name, phase=phase))
            if name == "learner" and (killed := self._ledger.newest_pass()) is not None:
                self.killed_passes.add(killed)
            show(f"killed: {name} at {phase}; starting it again")
            self._start(name)

    def empty_a_replica(self, show: Callable[[str], None]) -> None:
        """Kill the last replica and start it again with no adapter loaded. The second call does nothing."""
        if self._replica is not None or len(self._stack.replicas) < 2:
            return
        replica = self._stack.replicas[-1]

        def restart() -> None:
            replica.kill()
            replica.start()

        self.kills.append(Kill(role="replica", phase="restarted empty"))
        show("killed: a vLLM replica; starting it again, empty")
        self._replica = Thread(target=restart, name="replica-restart", daemon=True)
        self._replica.start()

    def is_over(self) -> bool:
        """Whether every planned kill has happened and everything runs again."""
        waiting = any(self._failpoints.values()) or any(self._armed.values())
        return not waiting and (self._replica is None or not self._replica.is_alive())

    def _start(self, name: str) -> None:
        failpoints = self._failpoints[name]
        self._armed[name] = failpoints.pop(0) if failpoints else None
        self._stack.start_role(name, failpoint=self._armed[name])
