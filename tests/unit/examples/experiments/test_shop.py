"""The shop of the environment *retail*: what its tools change, and what its policy wants."""

import random

import pytest

from examples.experiments.shop import TOOLS, Customer, Order, Shop, Wish, slot_values, stocked, tool


def build_shop(*, kind: str = "regular", status: str = "open") -> Shop:
    order = Order(number=1042, customer="mila", item="lamp", city="bern", status=status)
    return Shop({"mila": Customer(name="mila", kind=kind, city="bern")}, {1042: order})


def fulfilled(wish: Wish, **about: str) -> Order:
    shop = build_shop(**about)
    shop.fulfil(wish)
    return shop.orders[1042]


@pytest.mark.parametrize(
    ("kind", "amount", "refunded", "handed_to"),
    [
        ("regular", 99, 99, ""),
        ("regular", 100, 0, "finance"),
        ("new", 640, 0, "finance"),
        ("vip", 640, 640, ""),
    ],
)
def test_finance_decides_about_large_refunds_except_those_of_a_vip(
    kind: str, amount: int, refunded: int, handed_to: str
) -> None:
    order = fulfilled(Wish(kind="refund", order=1042, amount=amount), kind=kind)
    assert (order.refunded, order.handed_to) == (refunded, handed_to)


@pytest.mark.parametrize(("status", "cancelled"), [("open", True), ("packed", True), ("sent", False)])
def test_an_order_is_cancelled_with_a_notice_unless_it_is_sent(status: str, cancelled: bool) -> None:
    order = fulfilled(Wish(kind="cancel", order=1042), status=status)
    assert (order.cancelled, order.notified) == (cancelled, cancelled)


@pytest.mark.parametrize(
    ("status", "city", "intercepted"),
    [("open", "oslo", False), ("packed", "oslo", True), ("sent", "bern", False)],
)
def test_a_packed_parcel_is_intercepted_to_send_it_elsewhere(
    status: str, city: str, intercepted: bool
) -> None:
    order = fulfilled(Wish(kind="address", order=1042, city="oslo"), status=status)
    assert (order.city, order.intercepted) == (city, intercepted)


@pytest.mark.parametrize(
    ("status", "item", "handed_to"), [("open", "vase", ""), ("sent", "lamp", "warehouse")]
)
def test_the_warehouse_decides_about_an_exchange_of_what_is_not_open(
    status: str, item: str, handed_to: str
) -> None:
    order = fulfilled(Wish(kind="exchange", order=1042, item="vase"), status=status)
    assert (order.item, order.handed_to) == (item, handed_to)


def test_tools_read_the_database_in_the_form_that_the_base_knows() -> None:
    shop = build_shop(kind="vip", status="packed")
    assert shop.call("lookup", {"order": 1042}) == '{"customer":"vip","status":"packed"}'
    assert shop.call("customer", {"name": "mila"}) == '{"kind":"vip","city":"bern","orders":[1042]}'
    assert shop == build_shop(kind="vip", status="packed")


def test_a_copy_does_not_show_the_changes_of_the_other() -> None:
    shop = build_shop()
    copy = shop.copy()
    assert copy.call("cancel", {"order": 1042, "notify": True}) == '{"ok":true}'
    assert copy.orders[1042].notified
    assert shop == build_shop()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lookup", {"order": 7}),
        ("lookup", {"order": [1]}),
        ("lookup", {}),
        ("cancel", {"order": "1042"}),
        ("cancel", {"order": 1042, "because": "of"}),
        ("refund", {"order": 1042, "amount": -5}),
        ("refund", {"order": 1042, "amount": True}),
        ("refund", {"order": 1042, "amount": 10_000}),
        ("delete", {"order": 1042}),
        ("customer", {"name": ["mila"]}),
    ],
)
def test_calls_that_no_tool_understands_change_nothing(name: str, arguments: dict[str, object]) -> None:
    shop = build_shop()
    assert "error" in shop.call(name, arguments)
    assert shop == build_shop()


def test_a_stocked_shop_has_orders_of_every_status_and_customers_of_every_kind() -> None:
    shop = stocked(slot_values(1, held_out=False))
    assert {order.status for order in shop.orders.values()} == {"open", "packed", "sent"}
    assert {customer.kind for customer in shop.customers.values()} == {"regular", "new", "vip"}
    assert {order.customer for order in shop.orders.values()} <= shop.customers.keys()


def test_no_arguments_break_a_tool() -> None:
    chance = random.Random(1)
    values: list[object] = [1042, -1, 10**40, 0.5, True, None, "", "mila", [], {}, {"order": 1}]
    names = ["order", "amount", "city", "item", "name", "notify", "to", "self"]
    for _ in range(2000):
        arguments = {chance.choice(names): chance.choice(values) for _ in range(chance.randrange(4))}
        assert build_shop().call(chance.choice(TOOLS), arguments).startswith("{")


def test_each_tool_is_named_as_requests_to_a_model_name_it() -> None:
    assert tool("refund")["function"]["parameters"]["properties"] == {
        "order": {"type": "integer"},
        "amount": {"type": "integer"},
    }
