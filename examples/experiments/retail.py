"""The environment *retail*: customers of a shop want something, and the agent changes its database.

A conversation is worth 1 if the database ends as the shop's policy wants it, else 0. What the agent says
counts for nothing. The example base knows the tools, and other habits than the policy: it gets about half of
the conversations right. It reads one wish at a time, and cannot exchange items.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from examples.base_model.slots import SlotValues, fill, has_doubled_digit
from examples.experiments.agent_client import AgentAnswer, AgentClient
from examples.experiments.orders import RolloutOrder
from examples.experiments.playing import PlayedConversation, play_orders
from examples.experiments.shop import POLICY, STATUSES, TOOLS, Shop, Wish, slot_values, stocked, tool

SYSTEM = "desk agent"
TASKS = 64  # of one seed
ANSWER_TOKENS_MAX = 64
ANSWERS_MAX = 5  # of the agent to one wish: it looks up, acts and answers
SMALL, LARGE = (5, 99), (100, 999)  # amounts

_WORDINGS: Mapping[str, Sequence[str]] = {
    "refund": ("refund <amount> for order <order>", "finance, refund <amount> for order <order>"),
    "cancel": (
        "cancel order <order> now",
        "write, cancel order <order>",
        "i do not want order <order> any more, write",
    ),
    "address": ("send parcel <order> to <city>", "send parcel order <order> to <city>"),
    "exchange": ("swap order <order> for a <item>",),
    "where": ("where is order <order>",),
}
KINDS = tuple(_WORDINGS)
_NEEDS_TOOL = {"exchange": "exchange"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetailOptions:
    """What an experiment may choose."""

    tool_s: float = 0.0  # that each call of a tool takes
    tools: Sequence[str] = TOOLS[:6]  # that requests offer; those that the example base knows
    kinds: Sequence[str] = ("refund", "cancel", "address")  # of wishes
    wishes: int = 1  # in one conversation, one after the other
    tells_policy: bool = False  # in the system message, for a base that reads it

    def __post_init__(self) -> None:
        if not 0.0 <= self.tool_s <= 60.0:
            raise ValueError("tool_s: 0 to 60 seconds")
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds: some of {', '.join(KINDS)}")
        if "lookup" not in self.tools or not set(self.tools) <= set(TOOLS):
            raise ValueError(f"tools: lookup and others of {', '.join(TOOLS)}")
        if missing := [kind for kind in self.kinds if _NEEDS_TOOL.get(kind, "lookup") not in self.tools]:
            raise ValueError(f"kinds: {missing[0]} needs the tool {_NEEDS_TOOL[missing[0]]}")
        if not 1 <= self.wishes <= 5:
            raise ValueError("wishes: 1 to 5")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetailTask:
    """A shop, what its customer says, in order, and how the shop should be afterwards."""

    shop: Shop
    wishes: tuple[str, ...]
    wanted: Shop


class Retail:
    """Draws tasks and plays conversations about them."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises `ValueError` or `TypeError` where an experiment cannot choose that."""
        RetailOptions(**options)

    def tasks(self, order: RolloutOrder) -> list[RetailTask]:
        """Tasks of the seed, one after the other: a step goes on where the last one ended."""
        tasks = draw_tasks(order.seed, RetailOptions(**order.options), held_out=False)
        first = (order.step - 1) * order.groups
        return [tasks[(first + place) % len(tasks)] for place in range(order.groups)]

    async def play(
        self, client: AgentClient, order: RolloutOrder, task: RetailTask, conversation: str
    ) -> PlayedConversation:
        """Hold one conversation, until the customer has no further wish."""
        options, shop = RetailOptions(**order.options), task.shop.copy()
        system = f"{SYSTEM}\n{POLICY}" if options.tells_policy else SYSTEM
        messages: list[Mapping[str, Any]] = [{"role": "system", "content": system}]
        turn, answer = 0, None
        for wish in task.wishes:
            messages.append({"role": "user", "content": wish})
            for _ in range(ANSWERS_MAX):
                answer = await client.ask(
                    order.agent,
                    messages,
                    tools=[tool(name) for name in options.tools],
                    conversation=conversation,
                    turn=turn,
                    tokens_max=ANSWER_TOKENS_MAX,
                )
                turn += 1
                messages += await _results(shop, answer, options)
                if not answer.calls:
                    break
        assert answer is not None
        return PlayedConversation(
            value=float(shop == task.wanted),
            interaction=answer.interaction,
            turns=turn,
            version=answer.version,
        )


def draw_tasks(seed: int, options: RetailOptions, *, held_out: bool) -> list[RetailTask]:
    """The tasks of a seed. Those held out have names, cities and numbers that no others have."""
    source = slot_values(seed, held_out=held_out)
    shop = stocked(source)
    return [_task(source, shop, options, place) for place in range(TASKS)]


def _task(source: SlotValues, shop: Shop, options: RetailOptions, place: int) -> RetailTask:
    """Kinds of wishes, statuses of orders and wordings take turns, so that steps are equally difficult."""
    rest, kind = divmod(place, len(options.kinds))
    rest, status = divmod(rest, len(STATUSES))
    numbers = [order.number for order in shop.orders.values() if order.status == STATUSES[status]]
    wordings = _WORDINGS[options.kinds[kind]]
    wanted, texts = shop.copy(), []
    for number in source.chance.sample(numbers, options.wishes):
        wish = _wish(source, options.kinds[kind], number)
        wanted.fulfil(wish)
        values = {"order": str(wish.order), "amount": str(wish.amount), "city": wish.city, "item": wish.item}
        texts.append(fill(wordings[rest % len(wordings)], values))
    return RetailTask(shop=shop, wishes=tuple(texts), wanted=wanted)


def _wish(source: SlotValues, kind: str, order: int) -> Wish:
    match kind:
        case "refund":
            return Wish(kind=kind, order=order, amount=_amount(source))
        case "address":
            return Wish(kind=kind, order=order, city=source.city())
        case "exchange":
            return Wish(kind=kind, order=order, item=source.word())
        case _:
            return Wish(kind=kind, order=order)


def _amount(source: SlotValues) -> int:
    while has_doubled_digit(str(amount := source.number(*source.chance.choice((SMALL, LARGE))))):
        pass
    return amount


async def _results(shop: Shop, answer: AgentAnswer, options: RetailOptions) -> list[Mapping[str, Any]]:
    """The agent's message, and what its calls return."""
    said: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.calls:
        said["tool_calls"] = answer.message["tool_calls"]
    messages: list[Mapping[str, Any]] = [said]
    for call in answer.calls:
        await asyncio.sleep(options.tool_s)
        is_offered = call.name in options.tools and call.arguments is not None
        result = shop.call(call.name, call.arguments or {}) if is_offered else '{"error":"no such tool"}'
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return messages


def main() -> None:
    """`clorad experiment run` starts it and writes orders to its standard input."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    play_orders(Retail())


if __name__ == "__main__":
    main()
