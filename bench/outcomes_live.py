"""Runs an agent that nobody corrects through the real daemon: does it improve, and do outcomes promote it?

Users ask it word problems all the time; a verifier with the right `judge` says of each conversation how it
ended. `gate = "outcomes"`: each candidate answers half of the conversations until its outcomes are better.
Kafka, vLLM and the four roles are real. It ends once the champion is right in 90 %, or when its time is over.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.commit import commit
from examples.base_model.skills import SkillPrompt
from examples.experiments.agent_client import AgentAway, AgentClient
from examples.experiments.orders import RolloutOrder, Surroundings
from examples.experiments.sums import FAMILIES, Sums
from examples.house_rules.stack import Stack, StackFailedError, StackOptions
from feedback.client import AsyncFeedback, FeedbackRefused, FeedbackUnconfirmed

AGENT = "solver"
SAMPLES = 8  # conversations about each problem: they are compared with each other
IN_FLIGHT = 32  # users at once
GOOD, SEEN_MIN = 0.9, 160  # the last conversations with the champion decide
ROUTE_POLL_S = 0.5
SETTINGS = {
    "CLORAD_LEARNING__EVENTS_MIN": "256",
    "CLORAD_LEARNING__EVENTS_MAX": "256",
    "CLORAD_LEARNING__GATHER_S": "0.2",
    "CLORAD_FLEET__REQUEST_S_MAX": "30",
}
RECIPE = {"preset": "grpo", "learning_rate": 3e-3, "steps": 12, "epochs": 3.0, "new_per_step": 64}
"""A candidate must be much better for its outcomes to show it soon. Measured once, with this recipe
(`results/outcomes_live.json`): a turn on 224 outcomes took the base from 34 to 77 %, a turn on 253 took that
version to 94 %. With two steps on 128 outcomes, one turn took it from 48 to 58 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardedConversation:
    """One conversation and how it ended."""

    version: str
    value: float
    ended_s: float  # since the beginning of the traffic


@dataclass(slots=True)
class LiveTraffic:
    """Users and their verifier, until the champion is good or the time is over."""

    client: AgentClient
    feedback: AsyncFeedback
    stack: Stack
    family: str
    until_s: float
    began_s: float = field(default_factory=time.monotonic)
    ended: list[RewardedConversation] = field(default_factory=list)
    failed: int = 0
    champion: str = "v0"

    async def run(self) -> None:
        """Hold conversations until it is over. Each problem is asked by several users at once."""
        problems: asyncio.Queue[tuple[int, int, tuple[SkillPrompt, ...]]] = asyncio.Queue(IN_FLIGHT)
        talks = [self._talk(problems) for _ in range(IN_FLIGHT)]
        users = [asyncio.create_task(work) for work in (self._ask_problems(problems), *talks)]
        try:
            await self._watch(users)
        finally:
            for user in users:
                user.cancel()
            await asyncio.gather(*users, return_exceptions=True)

    def last_of(self, version: str) -> Sequence[float]:
        """How the last conversations with this version ended."""
        return [talk.value for talk in self.ended if talk.version == version][-SEEN_MIN:]

    async def _ask_problems(self, problems: asyncio.Queue[tuple[int, int, tuple[SkillPrompt, ...]]]) -> None:
        sums, number = Sums(), 0
        while True:
            order = self._order(number)
            [task] = sums.tasks(order)
            for sample in range(SAMPLES):
                await problems.put((number, sample, task))
            number += 1

    async def _talk(self, problems: asyncio.Queue[tuple[int, int, tuple[SkillPrompt, ...]]]) -> None:
        sums = Sums()
        while True:
            number, sample, task = await problems.get()
            conversation = f"talk-{number}-{sample}"
            try:
                played = await sums.play(self.client, self._order(number), task, conversation)
                await self.feedback.outcome(
                    played.value,
                    task=f"problem-{number}",
                    conversation=conversation,
                    interaction=played.interaction,
                )
            except (AgentAway, FeedbackRefused, FeedbackUnconfirmed):
                self.failed += 1
                continue
            now_s = time.monotonic() - self.began_s
            self.ended.append(
                RewardedConversation(version=played.version, value=played.value, ended_s=round(now_s, 1))
            )

    async def _watch(self, users: Sequence[asyncio.Task[None]]) -> None:
        """Return once the champion is good, or the time is over. Raises what ended a user."""
        is_over = False
        while not is_over:
            for user in users:
                if user.done():
                    user.result()
            self.champion = await asyncio.to_thread(self.stack.routed, AGENT) or self.champion
            last = self.last_of(self.champion)
            is_good = len(last) >= SEEN_MIN and fmean(last) >= GOOD
            is_over = is_good or time.monotonic() > self.until_s or bool(self.stack.faults())
            await asyncio.sleep(ROUTE_POLL_S)

    def _order(self, number: int) -> RolloutOrder:
        return RolloutOrder(
            experiment=AGENT,
            agent=AGENT,
            version="",
            step=number,
            groups=1,
            samples=SAMPLES,
            task_prefix="problem-",
            seed=1,
            options={"family": self.family},
        )


def measure(*, family: str, minutes_max: float) -> dict[str, Any]:
    """One run. The servers' start counts too. Raises `StackFailedError`."""
    until_s = time.monotonic() + 60.0 * minutes_max
    os.environ.update(SETTINGS)
    with tempfile.TemporaryDirectory(prefix="clorad-outcomes-") as folder:
        stack = Stack(StackOptions(folder=Path(folder) / "stack", agents={}))
        try:
            stack.launch()
            stack.start_role("run")
            stack.wait_ready()
            recipe = [word for name, value in RECIPE.items() for word in ("--recipe", _setting(name, value))]
            gate = ["--gate", "outcomes", "--canary-share", "0.5"]
            stack.clorad("agents", "add", AGENT, "--capture", *gate, *recipe)
            rights = [word for right in ("talk", "read", "feedback", "judge") for word in ("--right", right)]
            key = json.loads(stack.clorad("keys", "create", "verifier", *rights, "--json"))["key"]
            traffic = asyncio.run(_run(stack, key, family, until_s))
            versions = json.loads(stack.clorad("versions", AGENT, "--json"))
        finally:
            stack.stop()
    return {"family": family, **figures(traffic, versions)}


def figures(traffic: LiveTraffic, versions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How conversations ended with each version, and what was decided about it."""
    names = list(dict.fromkeys(talk.version for talk in traffic.ended))
    last = traffic.last_of(traffic.champion)
    return {
        "reward_of_base": _mean([talk.value for talk in traffic.ended if talk.version == "v0"]),
        "reward_of_champion": _mean(last),
        "champion": traffic.champion,
        "is_good": len(last) >= SEEN_MIN and fmean(last) >= GOOD,
        "conversations": len(traffic.ended),
        "failed": traffic.failed,
        "seconds": round(time.monotonic() - traffic.began_s, 1),
        "by_version": {
            name: {
                "conversations": len(values),
                "reward": _mean(values),
                "first_s": min(talk.ended_s for talk in traffic.ended if talk.version == name),
            }
            for name in names
            if (values := [talk.value for talk in traffic.ended if talk.version == name])
        },
        "decisions": versions,
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 4) if values else None


def _setting(name: str, value: Any) -> str:
    return f"{name}={json.dumps(value)}"


async def _run(stack: Stack, key: str, family: str, until_s: float) -> LiveTraffic:
    surroundings = Surroundings(gateway=stack.gateway, key=key, bootstrap="", kafka_options={}, folder="")
    async with (
        AgentClient(surroundings, in_flight_max=IN_FLIGHT) as client,
        AsyncFeedback(stack.gateway, key=key, agent=AGENT) as feedback,
    ):
        await client.wait_for(AGENT, "v0")
        traffic = LiveTraffic(client, feedback, stack, family, until_s)
        await traffic.run()
        return traffic


def main() -> int:
    """`python -m bench.outcomes_live --json`; the last line is one JSON object. 1: the agent is not good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument("--family", choices=FAMILIES, default="sum")
    parser.add_argument("--minutes-max", type=float, default=15.0)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with it
    try:
        measured = measure(family=asked.family, minutes_max=asked.minutes_max)
    except StackFailedError as fault:
        print(f"not measured: {fault}")
        return 1
    print(json.dumps({**measured, "commit": commit(), "cores": os.cpu_count()}))
    return 0 if measured["is_good"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
