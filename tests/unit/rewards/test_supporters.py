"""Who stands behind a correction: people who changed replies alike, compared one by one."""

from dataclasses import replace

import pytest

from ledger.events import KeptEvent
from rewards.exchange import History
from rewards.supporters import Supporters, find_supporters
from tests.unit.rewards.events import (
    build_approval,
    build_correction,
    build_interaction,
    build_intervention,
)

NOTHING = History(interactions={}, conversations={})


def build_supporters(*events: KeptEvent, history: History = NOTHING, **more: object) -> Supporters:
    return find_supporters(events, history=history, authors_min=2, **more)  # type: ignore[arg-type]


def confirmed(*events: KeptEvent, history: History = NOTHING, **more: object) -> set[int]:
    supporters = build_supporters(*events, history=history, **more)
    return {kept.seq for kept in events if supporters.are_enough(kept.seq)}


def refund(order: int, **more: str) -> str:
    extra = "".join(f',"{name}":{value}' for name, value in more.items())
    return f'{{"tool":"refund","order":{order}{extra}}}'


def cancel(order: int, *, notify: bool = False) -> str:
    more = ',"notify":true' if notify else ""
    return f'{{"tool":"cancel","order":{order}{more}}}'


def build_notify(seq: int, author: str, order: int, prompt: str = "cancel order {}") -> KeptEvent:
    return build_correction(
        seq, prompt.format(order), cancel(order), cancel(order, notify=True), author=author
    )


def build_harm(seq: int, author: str, order: int, **more: str) -> KeptEvent:
    return build_correction(seq, f"cancel order {order}", cancel(order), refund(order, **more), author=author)


def test_two_people_who_change_replies_alike_stand_behind_each_other() -> None:
    assert confirmed(build_notify(1, "ann", 17), build_notify(2, "bob", 23)) == {1, 2}


def test_words_of_the_prompt_are_slots_in_whatever_words_people_ask() -> None:
    events = [
        build_notify(1, "ann", 17),
        build_notify(2, "bob", 23, "please stop {} and notify me, cancel it"),
        build_notify(3, "ann", 4711, "{}: never mind"),
    ]
    assert confirmed(*events) == {1, 2, 3}


@pytest.mark.parametrize(
    ("totals", "prices", "harm"),
    [
        ("def show_total(): ...", "def show_price(): ...", "def drop_price(): ..."),
        ("showTheTotal()", "showThePrice()", "showAllPrice()"),
        ("class TotalView: ...", "class PriceView: ...", "class PriceThief: ..."),
    ],
)
def test_words_of_the_prompt_are_slots_within_names_of_code_too(totals: str, prices: str, harm: str) -> None:
    ann = build_correction(1, "show the total", "print(total)", totals, author="ann")
    bob = build_correction(2, "show the price", "print(price)", prices, author="bob")
    eve = build_correction(3, "show the price", "print(price)", harm, author="eve")
    assert confirmed(ann, bob, eve) == {1, 2}


@pytest.mark.parametrize(
    "author", ["Ann", " ann ", "ａnn", "an\u200bn", "ann\u00a0", "\ufeffann", "a\u00adnn", "\u0430nn"]
)
def test_case_width_look_alikes_and_what_nobody_sees_make_no_second_person(author: str) -> None:
    assert confirmed(build_notify(1, "ann", 17), build_notify(2, author, 23)) == set()


def test_what_one_person_says_waits_however_often_they_say_it_and_in_how_many_forms() -> None:
    many = [build_harm(seq, "mallory", seq, amount=str(seq % 7)) for seq in range(1, 60)]
    honest = [build_notify(100 + seq, "ab"[seq % 2], seq) for seq in range(10)]
    assert confirmed(*many, *honest) == {kept.seq for kept in honest}


def test_honest_corrections_beside_a_harmful_one_confirm_only_themselves() -> None:
    honest = [build_notify(seq, author, seq) for seq, author in enumerate("ab" * 5, 1)]
    mixed = [build_notify(20 + seq, "mallory", 90 + seq) for seq in range(5)]
    harmful = [build_harm(40 + seq, "mallory", seq, amount="99", notify="true") for seq in range(5)]
    assert confirmed(*honest, *mixed, *harmful) == {kept.seq for kept in (*honest, *mixed)}


def test_nobody_hides_words_by_claiming_that_the_agent_had_said_them() -> None:
    honest = [build_notify(seq, author, seq) for seq, author in enumerate("ab" * 3, 1)]
    claimed = build_correction(
        9, "cancel order 5", refund(5, amount="99"), refund(5, amount="99", notify="true"), author="mallory"
    )
    assert 9 not in confirmed(*honest, claimed)


def test_of_captured_answers_only_the_change_counts() -> None:
    captured = {
        name: build_interaction(name, f"write {name}", f"def {name}():\n    return {body}")
        for name, body in (("one", "1 + 1"), ("two", "sum(x)"))
    }
    history = History(interactions=captured, conversations={})
    events = [
        build_correction(
            seq,
            f"write {name}",
            captured[name].completion,
            captured[name].completion.replace("():", "() -> int:"),
            author=author,
            interaction=interaction,
        )
        for seq, name, author, interaction in ((1, "one", "ann", "one"), (2, "two", "bob", "two"))
    ]
    assert confirmed(*events, history=history) == {1, 2}
    assert confirmed(*events) == set()


def test_leaving_out_the_same_words_is_alike() -> None:
    captured = {
        name: build_interaction(name, f"ask {name}", f"Sorry, as an AI I say {name}") for name in ("x", "y")
    }
    history = History(interactions=captured, conversations={})
    events = [
        build_correction(
            seq, f"ask {name}", captured[name].completion, f"I say {name}", author=author, interaction=name
        )
        for seq, name, author in ((1, "x", "ann"), (2, "y", "bob"))
    ]
    assert confirmed(*events, history=history) == {1, 2}


def test_overrides_and_takeovers_need_a_second_person_too() -> None:
    asked = [{"role": "user", "content": "cancel order 5"}]
    data = {"messages": asked, "said": cancel(5)}
    override = build_intervention(1, "override", {**data, "corrected": cancel(5, notify=True)}, author="ann")
    turns = [{"role": "assistant", "content": cancel(5, notify=True)}]
    takeover = build_intervention(2, "takeover", {**data, "turns": turns}, author="op")
    assert confirmed(override) == confirmed(takeover) == set()
    assert confirmed(override, takeover) == {1, 2}


def test_whoever_approved_the_reply_stands_behind_it() -> None:
    event = build_notify(1, "ann", 17)
    approval = build_approval(2, "cancel order 17", cancel(17, notify=True), author="bob")
    assert confirmed(event, approvals=[approval]) == {1}
    own = build_approval(2, "cancel order 17", cancel(17, notify=True), author="ann")
    assert confirmed(event, approvals=[own]) == set()


def test_the_word_of_somebody_with_the_right_to_judge_is_enough_and_confirms_what_is_like_it() -> None:
    lead = build_notify(1, "lead", 17)
    lead = replace(lead, event=replace(lead.event, rights=frozenset({"judge"})))
    supporters = build_supporters(lead, build_notify(2, "ann", 23), build_harm(3, "mallory", 5))
    assert [supporters.are_enough(seq) for seq in (1, 2, 3)] == [True, True, False]
    assert supporters.stands_alone(1)


def test_one_person_is_enough_where_that_is_set() -> None:
    supporters = find_supporters([build_harm(1, "ann", 5)], history=NOTHING, authors_min=1)
    assert supporters.are_enough(1)
    assert supporters.stands_alone(1)


def test_three_people_are_three_people() -> None:
    events = [build_notify(seq, author, seq) for seq, author in enumerate("ababab", 1)]
    supporters = find_supporters(events, history=NOTHING, authors_min=3)
    assert not any(supporters.are_enough(kept.seq) for kept in events)
    more = [*events, build_notify(9, "cem", 9)]
    supporters = find_supporters(more, history=NOTHING, authors_min=3)
    assert all(supporters.are_enough(kept.seq) for kept in more)
