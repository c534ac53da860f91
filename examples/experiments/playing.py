"""Plays the orders of `clorad experiment run`: all conversations of a step at once, and an outcome for each.

It speaks to agents through the gateway alone, and reports rewards and corrections to Kafka alone.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from examples.experiments.agent_client import ROUTED_S_MAX, AgentAway, AgentClient
from examples.experiments.orders import RolloutOrder, Surroundings
from examples.house_rules.people.feedback_producer import FeedbackProducer

IN_FLIGHT_MAX = 64
"""Requests at once of all experiments: as many as vLLM's CPU build gains anything from."""

AUTHOR = "environment"
MEASURE = "measure:"
"""With which the task of an outcome begins that only measures."""

Task = TypeVar("Task")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedConversation:
    """How one conversation ended."""

    value: float
    interaction: str  # its last one
    turns: int
    version: str  # that gave the last answer
    feedback: Sequence[tuple[str, Mapping[str, Any]]] = ()  # kind and data of what people said in it


class OutcomeSender(Protocol):
    """Sends events to Kafka, as `FeedbackProducer` does."""

    def send_event(self, kind: str, data: Mapping[str, Any], *, key: str) -> str:
        """Send one event; returns its id."""


class Environment(Protocol[Task]):
    """Draws tasks and plays them."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises `ValueError` or `TypeError` where an experiment cannot choose these options."""

    def tasks(self, order: RolloutOrder) -> list[Task]:
        """The tasks of an order."""

    async def play(
        self, client: AgentClient, order: RolloutOrder, task: Task, conversation: str
    ) -> PlayedConversation:
        """Hold one conversation about a task. Raises `AgentAway`."""


@runtime_checkable
class CorrectingEnvironment(Environment[Task], Protocol[Task]):
    """One in which people correct the agent."""

    def measured(self, order: RolloutOrder) -> Sequence[tuple[str, Task]]:
        """`order.measured` tasks that are never corrected, each with the name of what it measures."""


def check_order(environment: Environment[Any], order: RolloutOrder) -> None:
    """Raises `ValueError` or `TypeError` where the environment cannot play such orders."""
    environment.check(order.options)
    if order.corrects and not isinstance(environment, CorrectingEnvironment):
        raise ValueError(f'{type(environment).__name__} corrects nothing: set learns_from = "outcomes"')


def play_orders(environment: Environment[Any]) -> None:
    """Play the orders on standard input, several at once, until it ends."""
    surroundings = Surroundings.of_this_process()
    producer = FeedbackProducer(
        surroundings.bootstrap,
        Path(surroundings.folder) / "environment-journal.jsonl",
        "experiment/environment",
        surroundings.kafka_options,
    )
    try:
        asyncio.run(_play(environment, surroundings, producer))
    finally:
        producer.close()


async def play_order(
    environment: Environment[Any],
    order: RolloutOrder,
    client: AgentClient,
    producer: OutcomeSender,
    *,
    routed_s_max: float = ROUTED_S_MAX,
) -> tuple[int, int]:
    """Hold the conversations of one order and send their outcomes. Returns how many ended, and failed.

    All fail where the version is not routed in time; the other experiments' conversations go on.
    """
    try:
        await client.wait_for(order.agent, order.version, wait_s_max=routed_s_max)
    except AgentAway as away:
        print(f"{order.experiment}, step {order.step}: {away}", file=sys.stderr, flush=True)
        return 0, order.groups * order.samples + order.measured

    async def hold(name: str, task: Any, sample: int) -> bool:
        conversation = f"{order.experiment}-{order.seed}-{name}-{sample}"
        try:
            ended = await environment.play(client, order, task, conversation)
        except AgentAway as away:
            print(f"{conversation}: {away}", file=sys.stderr, flush=True)
            return False
        about = {"agent": order.agent, "author": AUTHOR, "conversation": conversation}
        for kind, data in ended.feedback if order.corrects and not name.startswith(MEASURE) else ():
            producer.send_event(kind, {**about, **data}, key=conversation)
        whole = {"scope": "all" if ended.turns > 1 else "final", "value": ended.value, "task": name}
        # Last, with the same key: whoever has the outcome has what people said.
        producer.send_event("outcome", {**about, **whole, "interaction": ended.interaction}, key=conversation)
        return True

    measured = environment.measured(order) if isinstance(environment, CorrectingEnvironment) else ()

    has_ended = await asyncio.gather(
        *(
            hold(f"{order.task_prefix}{group}", task, sample)
            for group, task in enumerate(environment.tasks(order))
            for sample in range(order.samples)
        ),
        *(
            hold(f"{MEASURE}{measure}:{order.task_prefix}{place}", task, 0)
            for place, (measure, task) in enumerate(measured)
        ),
    )
    return sum(has_ended), len(has_ended) - sum(has_ended)


async def _play(
    environment: Environment[Any], surroundings: Surroundings, producer: FeedbackProducer
) -> None:
    """Play until standard input ends. A fault in one order ends the environment: its experiments say so."""
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    async with (
        AgentClient(surroundings, in_flight_max=IN_FLIGHT_MAX) as client,
        asyncio.TaskGroup() as group,
    ):

        async def answer(order: RolloutOrder) -> None:
            rollouts, failed = await play_order(environment, order, client, producer)
            await asyncio.to_thread(producer.flush)
            print(order.done(rollouts=rollouts, failed=failed), flush=True)

        playing: list[asyncio.Task[None]] = []
        while line := await orders.readline():
            order = RolloutOrder.read(line.decode())
            try:
                check_order(environment, order)
            except (ValueError, TypeError) as refusal:
                sys.exit(f"{order.experiment}: {refusal}")
            playing.append(group.create_task(answer(order)))
        for task in playing:
            task.cancel()
