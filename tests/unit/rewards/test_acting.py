"""What is taught of agents that call tools: the served prompt, the corrected call, and what was sampled."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from feedback.token_ids import pack
from ledger.events import Interaction, KeptEvent, Kind
from rewards.baseline import NO_BASELINES
from rewards.credit import Barren, CreditTable
from rewards.episode import Episode, Part
from rewards.exchange import History
from rewards.labelling import episodes_of_turn
from rewards.takeovers import flaws_of, operator_turns
from tests.unit.rewards.events import (
    build_conversation,
    build_interaction,
    build_intervention,
    build_kept_event,
    build_outcome,
    build_prompt,
)

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("stock", "order")]
SERVED = (7, 8, 70_000)


def call(arguments: Any, name: str = "stock") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    calls = [{"id": "c1", "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


ACTING = replace(
    build_interaction("i", "bolts?", ""),
    reply=call('{"item": "nuts"}'),
    request={"tools": TOOLS, "tool_choice": "auto"},
    packed_prompt=pack(SERVED),
)


def credit_of(kept: KeptEvent, *, part: Part = Part.NEW, **changed: Any) -> Any:
    history = History(interactions={"i": replace(ACTING, **changed)}, conversations={})
    table = CreditTable(
        history=history, baselines=NO_BASELINES, part=part, others=(), withdrawn=frozenset(), successes=None
    )
    return table.credit(kept.event)


def corrected(wanted: Any, **data: Any) -> KeptEvent:
    more = {} if "messages" in data else {"interaction": "i"}
    return build_kept_event(1, Kind.CORRECTION, {"corrected": wanted, **data}, **more)


def only(credit: Any) -> Episode:
    (episode,) = credit
    assert isinstance(episode, Episode)
    return episode


def test_a_corrected_call_is_taught_for_the_prompt_that_was_served() -> None:
    wanted = call('{"item": "bolts"}')
    episode = only(credit_of(corrected(wanted)))
    assert (episode.prompt_ids, episode.request) == (SERVED, ACTING.request)
    assert episode.reply.message == wanted
    assert episode.rejected is not None
    assert (episode.rejected.message, episode.rejected.sampled_ids) == (ACTING.reply, (1, 2, 3))


def test_without_a_capture_the_event_says_what_is_rendered() -> None:
    wanted, said = call({"item": "bolts"}), call({"item": "nuts"})
    event = corrected(wanted, messages=list(build_prompt("bolts?")), rejected=said, tools=TOOLS)
    episode = only(credit_of(event))
    assert (episode.prompt_ids, episode.request) == ((), {"tools": TOOLS})
    assert (episode.reply.message, episode.rejected and episode.rejected.message) == (wanted, said)


def test_a_call_may_be_corrected_by_a_text_and_a_text_by_a_call() -> None:
    episode = only(credit_of(corrected("Which bolts?")))
    assert (episode.reply.text, episode.reply.message) == ("Which bolts?", None)
    episode = only(credit_of(corrected(call("{}")), reply=None, completion="Which bolts?"))
    assert episode.rejected is not None
    assert (episode.rejected.text, episode.rejected.message) == ("Which bolts?", None)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (call({"item": "nuts"}), "nothing was changed"),
        (call("{}", "delete"), "calls a tool that was not offered"),
        (call('{"item": '), "calls a tool with arguments that are no JSON object"),
    ],
)
def test_what_cannot_be_taught_says_why(wanted: Any, reason: str) -> None:
    assert credit_of(corrected(wanted)) == Barren(reason)


def test_a_call_where_no_tools_are_known_is_not_taught() -> None:
    event = corrected(call("{}"), messages=list(build_prompt("bolts?")), rejected="no")
    assert credit_of(event) == Barren("calls a tool, and no tools are known")


def test_an_approved_call_is_held_to_the_sampled_tokens_of_the_served_prompt() -> None:
    event = build_intervention(1, "approve", {}, interaction="i")
    episode = only(credit_of(event, part=Part.ANCHOR))
    assert (episode.prompt_ids, episode.reply.sampled_ids) == (SERVED, (1, 2, 3))
    assert episode.reply.message == ACTING.reply


def test_an_approved_answer_with_a_thought_is_held_to_the_thought_too() -> None:
    event = build_intervention(1, "approve", {"messages": list(build_prompt("bolts?")), "said": "Done."})
    event = replace(event, event=replace(event.event, interaction="i"))
    thought = {"role": "assistant", "content": "Done.", "reasoning": "theirs"}
    episode = only(credit_of(event, part=Part.ANCHOR, reply=thought, completion="Done."))
    assert episode.reply.sampled_ids == (1, 2, 3)


@pytest.mark.parametrize("restrictions", [("tool_choice",), ("top_k", "top_p")])
def test_constrained_sampling_gives_no_advantage_and_says_so(restrictions: tuple[str, ...]) -> None:
    reason = f"only some tokens could be sampled: {', '.join(restrictions)}"
    for event in (
        build_intervention(1, "reject", {}, interaction="i"),
        build_intervention(1, "abort", {}, interaction="i"),
        build_outcome(1, -1.0, interaction="i"),
    ):
        assert credit_of(event, restrictions=restrictions) == Barren(reason)
        assert isinstance(only(credit_of(event)), Episode)
    assert only(credit_of(corrected(call("{}")), restrictions=restrictions)).advantage is None


def test_an_advantage_is_for_the_served_prompt() -> None:
    episode = only(credit_of(build_intervention(1, "reject", {}, interaction="i")))
    assert (episode.prompt_ids, episode.request) == (SERVED, ACTING.request)


def test_turns_that_were_constrained_get_no_credit_of_a_conversation() -> None:
    talk = [
        replace(turn, restrictions=("tool_choice",) if place == 1 else ())
        for place, turn in enumerate(build_conversation("c", 3))
    ]
    history = History(interactions={turn.id: turn for turn in talk}, conversations={"c": talk})
    event = build_outcome(1, 1.0, scope="all", interaction="c/2", conversation="c")
    episodes = episodes_of_turn([event], part=Part.NEW, history=history, baselines=NO_BASELINES)
    assert [episode.messages[-1]["content"] for episode in episodes] == ["ask 2", "ask 0"]


def test_the_calls_of_a_takeover_are_taught_and_results_are_no_targets() -> None:
    result: Mapping[str, Any] = {"role": "tool", "tool_call_id": "c1", "content": "3 left"}
    order = call('{"item": "bolts"}', "order")
    unknown = call("{}", "delete")
    turns = [call('{"item": "bolts"}'), result, order, unknown, {"role": "assistant", "content": "Ordered."}]
    event = build_intervention(1, "takeover", {"turns": turns}, interaction="i")
    episodes = [episode for episode in credit_of(event) if episode.advantage is None]
    assert [episode.reply.message or episode.reply.text for episode in episodes] == [
        turns[0],
        order,
        "Ordered.",
    ]
    assert [episode.prompt_ids for episode in episodes] == [SERVED, (), ()]
    assert episodes[1].messages[-2:] == (turns[0], result)
    assert all(episode.request == ACTING.request for episode in episodes)


def test_a_takeover_has_the_captured_prompts_of_its_conversation() -> None:
    result = {"role": "tool", "tool_call_id": "c1", "content": "3 left"}
    turns = [call('{"item": "bolts"}'), result, {"role": "assistant", "content": "Three."}]
    asked_again = replace(
        ACTING,
        id="j",
        conversation="talk",
        messages=(*ACTING.messages, *turns[:2]),
        packed_prompt=pack((9, 10)),
    )
    acting = replace(ACTING, conversation="talk")
    event = build_intervention(1, "takeover", {"turns": turns}, interaction="i").event

    def prompts(captured: Interaction) -> list[tuple[int, ...]]:
        history = History(interactions={"i": acting}, conversations={"talk": [acting, captured]})
        table = CreditTable(
            history=history,
            baselines=NO_BASELINES,
            part=Part.NEW,
            others=(),
            withdrawn=frozenset(),
            successes=None,
        )
        return [episode.prompt_ids for episode in table.credit(event) if episode.advantage is None]

    assert prompts(asked_again) == [SERVED, (9, 10)]
    assert prompts(replace(asked_again, request={"tools": TOOLS[:1]})) == [SERVED, ()]
    assert prompts(replace(asked_again, agent="other")) == [SERVED, ()]
    as_user = ({**message, "role": "user"} for message in asked_again.messages)
    assert prompts(replace(asked_again, messages=tuple(as_user))) == [SERVED, ()]


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (call("{}", "delete"), "the operator calls a tool that was not offered"),
        (call("[1]"), "the operator calls a tool with arguments that are no JSON object"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "the operator's turns have no text"),
        ({"role": "assistant", "content": None}, "the operator's turns have no text"),
    ],
)
def test_a_takeover_of_which_nothing_can_be_taught_says_why(turn: Any, reason: str) -> None:
    assert credit_of(build_intervention(1, "takeover", {"turns": [turn]}, interaction="i")) == Barren(reason)


def test_an_aborted_call_is_negative_and_an_override_corrects_it_by_calls() -> None:
    before = build_interaction("h", "bolts", "Which ones?", conversation="talk", turn=0)
    proposed = replace(ACTING, conversation="talk", turn=1)
    history = History(interactions={"i": proposed}, conversations={"talk": [before, proposed]})
    table = CreditTable(
        history=history, baselines={}, part=Part.NEW, others=(), withdrawn=frozenset(), successes=None
    )
    stopped = table.credit(build_intervention(1, "abort", {}, interaction="i").event)
    assert isinstance(stopped, tuple)
    assert [(episode.advantage, episode.prompt_ids) for episode in stopped] == [(-1.0, SERVED), (-0.5, ())]
    assert stopped[0].reply.message == ACTING.reply
    wanted = call('{"item": "bolts"}', "order")
    replaced = only(
        table.credit(build_intervention(1, "override", {"corrected": wanted}, interaction="i").event)
    )
    assert (replaced.reply.message, replaced.prompt_ids) == (wanted, SERVED)
    assert replaced.rejected is not None
    assert (replaced.rejected.message, replaced.rejected.sampled_ids) == (ACTING.reply, (1, 2, 3))
    unknown = build_intervention(1, "override", {"corrected": call("{}", "delete")}, interaction="i")
    assert table.credit(unknown.event) == Barren("calls a tool that was not offered")


def test_what_is_left_out_of_a_takeover_is_named() -> None:
    turns = [call("{}"), call("{}", "delete"), {"role": "assistant", "content": ""}, call("{")]
    event = build_intervention(1, "takeover", {"turns": turns}, interaction="i").event
    assert flaws_of(operator_turns(event, ACTING.messages, ACTING.request)) == (
        "turns.1 calls a tool that was not offered",
        "turns.2 says nothing",
        "turns.3 calls a tool with arguments that are no JSON object",
    )


@pytest.mark.parametrize(("id", "taught"), [("c1", True), ("c9", False), (None, False), ([], False)], ids=str)
def test_a_turn_after_a_result_without_its_call_is_left_out(id: Any, taught: bool) -> None:
    result = {"role": "tool", "tool_call_id": id, "content": "3 left"}
    turns = [call("{}"), result, {"role": "assistant", "content": "Three."}]
    event = build_intervention(1, "takeover", {"turns": turns}, interaction="i").event
    flaws = () if taught else ("turns.2 follows a tool's result without its call",)
    assert flaws_of(operator_turns(event, ACTING.messages, ACTING.request)) == flaws


def test_the_thought_of_an_operators_turn_is_taught_under_its_older_name_too() -> None:
    turn = {"role": "assistant", "content": "Three.", "reasoning_content": "count them"}
    event = build_intervention(1, "takeover", {"turns": [turn]}, interaction="i")
    episode = only(credit_of(event))
    assert episode.reply.message == {"role": "assistant", "content": "Three.", "reasoning": "count them"}


def test_an_episode_knows_when_it_was_asked() -> None:
    history = History(interactions={"i": ACTING}, conversations={})
    late = corrected(call("{}"))
    early = replace(late, event=replace(late.event, occurred_s=0.5))
    for kept, asked_s in ((late, 1.0), (early, 0.5)):
        (episode,) = episodes_of_turn([kept], part=Part.NEW, history=history, baselines=NO_BASELINES)
        assert episode.asked_s == asked_s


@pytest.mark.parametrize("beside", [{"content": "Ask [email]."}, {"reasoning": "[email] knows"}])
def test_a_placeholder_beside_a_call_is_not_taught(beside: dict[str, str]) -> None:
    wanted = {**call('{"item": "bolts"}'), **beside}
    assert credit_of(corrected(wanted)) == Barren("the reply to learn was redacted: [email]")
