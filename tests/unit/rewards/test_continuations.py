"""What an agent says after a person's reply to the same request: whether it may be an anchor."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ledger.events import Interaction, KeptEvent, Kind, Role
from rewards.batch import choose
from rewards.continuations import continuations
from rewards.episode import Message, Part
from rewards.exchange import History
from rewards.silence import unopposed
from rewards.suite import suite
from tests.unit.rewards.events import ONE_IS_ENOUGH, build_interaction, build_kept_event

DONE: Message = {"role": "tool", "tool_call_id": "c", "content": '{"ok": true}'}


def call(name: str, order: int) -> Message:
    function = {"name": name, "arguments": f'{{"order": {order}}}'}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }


def asked_about(order: int) -> list[Message]:
    return [{"role": "user", "content": f"please give me 80 back for order {order}"}]


def build_corrected_call(order: int, **more: object) -> KeptEvent:
    """`refund` was called for this order; `handover` is right. The event's number is the order's."""
    data = {
        "messages": asked_about(order),
        "rejected": call("refund", order),
        "corrected": call("handover", order),
    }
    return build_kept_event(
        order, Kind.CORRECTION, data, **{"prompt_group": f"group {order}", "role": Role.TRAIN, **more}
    )


def build_reply(order: int, *turns: Message, role: Role = Role.TRAIN) -> Interaction:
    """The agent's last words after these turns of a conversation about the order."""
    reply = build_interaction(f"reply {order}", "", f"finance looks at order {order}", role=role)
    return replace(reply, messages=(*asked_about(order), *turns), prompt_group=f"group {order}")


def silence(replies: Sequence[Interaction], corrections: Sequence[KeptEvent]) -> list[KeptEvent]:
    history = History(interactions={reply.id: reply for reply in replies}, conversations={})
    return unopposed(replies, corrections, history=history, supporters=ONE_IS_ENOUGH)


def anchors(replies: Sequence[Interaction], new: Sequence[KeptEvent]) -> list[str]:
    choice = choose(
        new=new, taught=[], approvals=[], silent=silence(replies, new), gate=[], dev=[],
        interactions={reply.id: reply for reply in replies}, seed=1, replay_max=8, anchors_max=8,
        supporters=ONE_IS_ENOUGH,
    )  # fmt: skip
    return [kept.event.id for kept in choice.parts[Part.ANCHOR]]


CORRECTIONS = [build_corrected_call(order) for order in range(1001, 1007)]


def test_the_last_words_after_a_corrected_call_are_an_anchor() -> None:
    reply = build_reply(1001, call("handover", 1001), DONE)
    assert anchors([reply], CORRECTIONS) == ["reply 1001"]


def test_the_last_words_after_the_wrong_call_are_none() -> None:
    assert anchors([build_reply(1001, call("refund", 1001), DONE)], CORRECTIONS) == []


def test_the_next_request_in_a_corrected_conversation_says_nothing_about_the_rule() -> None:
    again: Message = {"role": "user", "content": "please give me 80 back for order 1009"}
    reply = build_reply(1001, call("handover", 1001), DONE, again)
    assert anchors([reply], CORRECTIONS) == []
    approvals = silence([reply], [])
    history = History(interactions={reply.id: reply}, conversations={})
    assert continuations(approvals, CORRECTIONS, history=history) == {}


def test_silence_about_last_words_that_people_correct_elsewhere_says_nothing() -> None:
    elsewhere = [
        build_kept_event(
            order,
            Kind.CORRECTION,
            {
                "messages": [*asked_about(order), call("handover", order), DONE],
                "rejected": f"finance looks at order {order}",
                "corrected": "you will hear from finance",
            },
        )
        for order in range(2001, 2007)
    ]
    reply = build_reply(1001, call("handover", 1001), DONE)
    assert silence([reply], [*CORRECTIONS, *elsewhere]) == []


def test_what_follows_the_right_call_counts_where_the_event_does_not_say_which_call_was_wrong() -> None:
    data = {"messages": asked_about(1001), "corrected": call("handover", 1001)}
    correction = build_kept_event(1001, Kind.CORRECTION, data, prompt_group="group 1001")
    right = build_reply(1001, call("handover", 1001), DONE)
    wrong = replace(build_reply(1001, call("refund", 1001), DONE), id="wrong")
    assert [kept.event.id for kept in silence([right, wrong], [correction])] == ["reply 1001"]


def test_the_suite_asks_again_what_was_said_after_a_corrected_call() -> None:
    corrections = [build_corrected_call(order, role=Role.GATE) for order in range(1001, 1007)]
    reply = build_reply(1001, call("handover", 1001), DONE, role=Role.GATE)
    [question] = suite(
        approvals=[],
        silent=silence([reply], corrections),
        taught_gate=[],
        new=corrections,
        corrections=corrections,
        interactions={reply.id: reply},
        supporters=ONE_IS_ENOUGH,
        seed=1,
        questions_max=8,
    )
    assert question.expected == "finance looks at order 1001"


@pytest.mark.parametrize("ended", [True, False])
def test_what_an_agent_says_after_it_was_handed_back_goes_on_after_all_turns_of_the_takeover(
    ended: bool,
) -> None:
    turns = [call("handover", 1001), DONE] if ended else [call("handover", 1001), DONE, call("close", 1001)]
    takeover = build_kept_event(
        7, Kind.TAKEOVER, {"action": "takeover", "messages": asked_about(1001), "turns": turns}
    )
    reply = build_reply(1001, call("handover", 1001), DONE, call("note", 1001), DONE)
    history = History(interactions={reply.id: reply}, conversations={})
    [approval] = silence([reply], [])
    followed = continuations([approval], [takeover], history=history)
    assert followed == ({approval.seq: frozenset({7})} if ended else {})
