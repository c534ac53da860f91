"""A small shop: customers, orders, the tools that read and change them, and the policy of its support.

Tools do whatever they are asked, as far as the order is there. The policy is what an agent has to learn.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from examples.base_model.slots import SlotValues, has_doubled_digit, read_words

CUSTOMERS, ORDERS = 12, 40
KINDS, STATUSES = ("regular", "new", "vip"), ("open", "packed", "sent")
FINANCE_FROM = 100  # a refund of so much is decided by finance, unless the customer is a vip
REFUND_MAX = 999

POLICY = (
    "look an order up before you change it. "
    "an order that is sent is neither cancelled nor sent elsewhere. "
    "a parcel that is packed is intercepted to send it elsewhere; of an open order the address is changed. "
    "the customer is notified when an order is cancelled. "
    f"finance decides about refunds from {FINANCE_FROM} on, except those of a vip. "
    "an open order is exchanged; any other exchange is handed over to the warehouse."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One customer."""

    name: str
    kind: str
    city: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order, and what support did about it."""

    number: int
    customer: str  # name
    item: str
    city: str
    status: str
    refunded: int = 0
    cancelled: bool = False
    notified: bool = False
    intercepted: bool = False
    handed_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a customer wants about an order. Fields that the kind of wish does not need are empty."""

    kind: str  # refund, cancel, address, exchange, where
    order: int
    amount: int = 0
    city: str = ""
    item: str = ""


@dataclass(slots=True)
class Shop:
    """The database, which the tools change."""

    customers: Mapping[str, Customer]
    orders: dict[int, Order] = field(default_factory=dict)

    def copy(self) -> "Shop":
        """The same shop; changes of one do not show in the other."""
        return Shop(self.customers, dict(self.orders))

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What the tool returns, as JSON. Calls that no tool understands change nothing."""
        try:
            return json.dumps(_TOOLS[name][0](self, **arguments), separators=(",", ":"))
        except KeyError:
            return '{"error":"no such tool or order"}'
        except (TypeError, ValueError):
            return '{"error":"wrong arguments"}'

    def fulfil(self, wish: Wish) -> None:
        """Change the database as the policy wants it."""
        order = self.orders[wish.order]
        is_vip = self.customers[order.customer].kind == "vip"
        match wish.kind, order.status:
            case "refund", _ if wish.amount < FINANCE_FROM or is_vip:
                self.refund(wish.order, wish.amount)
            case "refund", _:
                self.handover(wish.order, "finance")
            case "cancel", "open" | "packed":
                self.cancel(wish.order, notify=True)
            case "address", "open":
                self.address(wish.order, wish.city)
            case "address", "packed":
                self.intercept(wish.order, wish.city)
            case "exchange", "open":
                self.exchange(wish.order, wish.item)
            case "exchange", _:
                self.handover(wish.order, "warehouse")

    def lookup(self, order: int) -> Mapping[str, Any]:
        """Who ordered, and how far the order is."""
        read = self.orders[_number(order)]
        return {"customer": self.customers[read.customer].kind, "status": read.status}

    def customer(self, name: str) -> Mapping[str, Any]:
        """One customer, with the numbers of the orders."""
        read = self.customers[name]
        orders = [order.number for order in self.orders.values() if order.customer == name]
        return {"kind": read.kind, "city": read.city, "orders": orders}

    def refund(self, order: int, amount: int) -> Mapping[str, Any]:
        """Give back a part of the price."""
        if not 0 < _number(amount) <= REFUND_MAX:
            return {"error": "no such amount"}
        return self._change(order, refunded=self.orders[_number(order)].refunded + amount)

    def cancel(self, order: int, notify: bool = False) -> Mapping[str, Any]:
        """Cancel the order, with a message to the customer or without."""
        return self._change(order, cancelled=True, notified=notify is True)

    def address(self, order: int, city: str) -> Mapping[str, Any]:
        """Have the order sent elsewhere."""
        return self._change(order, city=str(city))

    def intercept(self, order: int, city: str) -> Mapping[str, Any]:
        """Stop the parcel and have it sent elsewhere."""
        return self._change(order, city=str(city), intercepted=True)

    def exchange(self, order: int, item: str) -> Mapping[str, Any]:
        """Send another item."""
        return self._change(order, item=str(item))

    def handover(self, order: int, to: str) -> Mapping[str, Any]:
        """Let people of another department go on."""
        return self._change(order, handed_to=str(to))

    def _change(self, number: int, **values: Any) -> Mapping[str, Any]:
        self.orders[number] = replace(self.orders[_number(number)], **values)
        return {"ok": True}


def stocked(source: SlotValues) -> Shop:
    """A shop with customers and orders."""
    names = [source.word() for _ in range(CUSTOMERS)]
    customers = {
        name: Customer(name=name, kind=KINDS[place % len(KINDS)], city=source.city())
        for place, name in enumerate(dict.fromkeys(names))
    }
    shop = Shop(customers)
    while len(shop.orders) < ORDERS:
        number = source.number(1000, 9999)
        if has_doubled_digit(str(number)):  # the example base copies 955 as 95
            continue
        shop.orders[number] = Order(
            number=number,
            customer=source.chance.choice(list(customers)),
            item=source.word(),
            city=source.city(),
            status=STATUSES[len(shop.orders) % len(STATUSES)],
        )
    return shop


def slot_values(seed: int, *, held_out: bool) -> SlotValues:
    """Names, cities and numbers; those held out are in no task that trains."""
    return SlotValues(random.Random(f"retail {seed}"), read_words(), held_out=held_out)


def tool(name: str) -> Mapping[str, Any]:
    """The tool as requests to a model name it."""
    properties = {parameter: {"type": kind} for parameter, kind in _TOOLS[name][1].items()}
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("no whole number")
    return value


_TOOLS: Mapping[str, tuple[Callable[..., Mapping[str, Any]], Mapping[str, str]]] = {
    "lookup": (Shop.lookup, {"order": "integer"}),
    "refund": (Shop.refund, {"order": "integer", "amount": "integer"}),
    "cancel": (Shop.cancel, {"order": "integer", "notify": "boolean"}),
    "address": (Shop.address, {"order": "integer", "city": "string"}),
    "intercept": (Shop.intercept, {"order": "integer", "city": "string"}),
    "handover": (Shop.handover, {"order": "integer", "to": "string"}),
    "exchange": (Shop.exchange, {"order": "integer", "item": "string"}),
    "customer": (Shop.customer, {"name": "string"}),
}
TOOLS: Sequence[str] = tuple(_TOOLS)
