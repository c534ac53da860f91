"""Chaos: roles are killed where a crash is hardest to get right, a replica comes back empty; all goes on.

A role is armed with a failpoint, dies at it by SIGKILL, and is started again with the next one.
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Thread

from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.stack import Stack

ARMS: Mapping[str, tuple[str, ...]] = {
    # In the middle of training; after the version directory has its name, before the ledger knows;
    # right after the ledger knows.
    "learner": ("learner-training:15", "learner-renamed", "learner-recorded"),
    "intake": ("intake-before-commit:8",),
    "fleet": ("fleet-swapping",),
    "gateway": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One process that was killed, and what it was doing."""

    role: str
    phase: str


class Chaos:
    """Starts the roles, and starts them again as they die."""

    def __init__(self, stack: Stack, window: LedgerView, arms: Mapping[str, tuple[str, ...]]) -> None:
        self._stack = stack
        self._window = window
        self._arms = {role: list(arms.get(role, ())) for role in stack.roles}
        self._armed: dict[str, str | None] = {}
        self._replica: Thread | None = None
        self.kills: list[Kill] = []
        self.killed_passes: set[int] = set()

    def start(self) -> None:
        """All roles run, each armed with its first failpoint."""
        for role in self._stack.roles:
            self._start(role)

    def tick(self, say: Callable[[str], None]) -> None:
        """Roles that died at their failpoint run again. One that died of itself is a fault, not chaos."""
        for name, role in self._stack.roles.items():
            if role.ended() != -signal.SIGKILL or (phase := self._armed[name]) is None:
                continue
            self.kills.append(Kill(role=name, phase=phase))
            if name == "learner" and (killed := self._window.newest_pass()) is not None:
                self.killed_passes.add(killed)
            say(f"killed: {name} at {phase}; starting it again")
            self._start(name)

    def empty_a_replica(self, say: Callable[[str], None]) -> None:
        """Once: the last replica is killed and started again with nothing loaded."""
        if self._replica is not None or len(self._stack.replicas) < 2:
            return
        replica = self._stack.replicas[-1]

        def restart() -> None:
            replica.kill()
            replica.start()

        self.kills.append(Kill(role="replica", phase="restarted empty"))
        say("killed: a vLLM replica; starting it again, empty")
        self._replica = Thread(target=restart, name="replica-restart", daemon=True)
        self._replica.start()

    def over(self) -> bool:
        """Everything that was to be killed has been, and runs again."""
        waiting = any(self._arms.values()) or any(self._armed.values())
        return not waiting and (self._replica is None or not self._replica.is_alive())

    def _start(self, name: str) -> None:
        arms = self._arms[name]
        self._armed[name] = arms.pop(0) if arms else None
        self._stack.start_role(name, failpoint=self._armed[name])
