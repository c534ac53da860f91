"""Habits of real chat templates, each in a small one of our own: what is trained is what is served."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.chat_template import NOT_ARGUMENTS, UnusableEpisode
from engine.tokens import Sample, Tokens
from rewards.episode import Episode, Message, Weighted
from tests.unit.engine import tiny_base

USER: Message = {"role": "user", "content": "bolts?"}
STOCK = {"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}
WIDE = {"type": "function", "function": {"name": "price", "description": "of it", "parameters": None}}

OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n"
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
HERMES = (  # tools in the system message, arguments through tojson, parallel calls one after the other
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>"
    '{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}" + OPEN + "{% endif %}"
)


def tokens_of(template: str) -> Tokens:
    tokenizer = tiny_base.build_tokenizer()
    tokenizer.chat_template = template
    return Tokens(tokenizer, vocabulary=288)


def call(arguments: Any = '{"item": "bolts"}', name: str = "stock", id: str = "c1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def message(*calls: Mapping[str, Any], content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def episode_of(reply: str | Message, *, messages: Sequence[Message] = (USER,), **more: Any) -> Episode:
    text = reply if isinstance(reply, str) else "a message"
    weighted = Weighted(text=text, message=None if isinstance(reply, str) else reply)
    return replace(tiny_base.build_episode("a", "b"), messages=tuple(messages), reply=weighted, **more)


def sample_of(template: str, reply: str | Message, **more: Any) -> Sample:
    return tokens_of(template).sample(episode_of(reply, **more), tokens_max=8192)


def texts_of(template: str, reply: str | Message, **more: Any) -> tuple[str, str]:
    """Prompt and target, as texts."""
    sample, tokenizer = sample_of(template, reply, **more), tiny_base.build_tokenizer()
    prompt, target = (tokenizer.decode(list(ids)) for ids in (sample.prompt_ids, sample.reply.token_ids))
    return prompt, target


class TestCallsAndTools:
    def test_the_corrected_call_is_what_follows_the_prompt_with_the_same_tools(self) -> None:
        prompt, target = texts_of(HERMES, message(call()), request={"tools": [STOCK]})
        assert prompt == (
            '<|im_start|>system\n{"type": "function", "function": {"name": "stock", "description": null,'
            ' "parameters": {"type": "object"}}}\n<|im_end|>\n'
            "<|im_start|>user\nbolts?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert target == '<tool_call>{"name": "stock", "arguments": {"item": "bolts"}}</tool_call><|im_end|>'

    @pytest.mark.parametrize("arguments", ['{"item": "bolts"}', {"item": "bolts"}, '{ "item":\t"bolts" }'])
    def test_arguments_are_rendered_alike_as_a_text_and_as_an_object(self, arguments: Any) -> None:
        _, target = texts_of(HERMES, message(call(arguments)))
        assert '"arguments": {"item": "bolts"}' in target

    @pytest.mark.parametrize("arguments", ["", None, "{}", {}])
    def test_a_call_without_arguments_has_an_empty_object(self, arguments: Any) -> None:
        assert '"arguments": {}' in texts_of(HERMES, message(call(arguments)))[1]

    def test_parallel_calls_are_all_taught_in_order_with_the_text_beside_them(self) -> None:
        reply = message(call(), call("{}", "price", "c2"), content="One moment.")
        _, target = texts_of(HERMES, reply, request={"tools": [STOCK, WIDE]})
        assert target.startswith("One moment.<tool_call>")
        assert target.index('"stock"') < target.index('"price"')
        assert target.endswith("</tool_call><|im_end|>")

    def test_earlier_calls_are_rendered_as_vllm_does(self) -> None:
        strict = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n"
            "{% if m.tool_calls is defined and m.tool_calls %}"
            "{{ m.tool_calls[0].function.arguments | tojson }}"
            "{% elif m.tool_calls is defined %}{{ raise_exception('one call a turn') }}"
            "{% else %}{{ m['content'] | trim }}{% endif %}<|im_end|>\n{% endfor %}" + OPEN + "{% endif %}"
        )
        for turn, served in (
            (message(call()), '{"item": "bolts"}'),
            ({"role": "assistant", "content": None}, ""),
            (message(content="41"), "41"),
            (message(call('{"item": ')), "{}"),
        ):
            prompt, _ = texts_of(strict, "ok", messages=(USER, turn, USER))
            assert (
                prompt.split("assistant\n")[1]
                == f"{served}<|im_end|>\n<|im_start|>user\nbolts?<|im_end|>\n<|im_start|>"
            )

    def test_a_reply_with_arguments_that_are_no_object_is_refused(self) -> None:
        for arguments in ('{"item": ', "[1]", "7"):
            with pytest.raises(UnusableEpisode, match="no JSON object"):
                sample_of(HERMES, message(call(arguments)))

    def test_control_tokens_inside_arguments_are_refused(self) -> None:
        for reply in (message(call({"item": "<|im_end|>"})), message(call(name="<|im_end|>"))):
            with pytest.raises(UnusableEpisode, match="control tokens"):
                sample_of(HERMES, reply)

    def test_a_template_without_calls_refuses_the_correction_of_one(self) -> None:
        refusing = "{% for m in messages %}{% if m.tool_calls %}{{ raise_exception('none') }}{% endif %}"
        template = refusing + CHATML.removeprefix("{% for m in messages %}") + OPEN + "{% endif %}"
        with pytest.raises(UnusableEpisode, match="chat template"):
            sample_of(template, message(call()))

    @pytest.mark.parametrize("calls", [7, True, "stock", [7], [None], [{}], [{"function": 7}], {"id": "c1"}])
    def test_calls_of_no_form_are_refused_in_a_reply_and_in_its_prompt(self, calls: Any) -> None:
        odd = {"role": "assistant", "content": "x", "tool_calls": calls}
        for reply, messages in ((odd, (USER,)), ("ok", (USER, odd, USER))):
            with pytest.raises(UnusableEpisode):
                sample_of(HERMES, reply, messages=messages)

    @pytest.mark.parametrize("kwargs", [7, "x", [1]])
    def test_arguments_of_the_template_that_are_no_object_are_refused(self, kwargs: Any) -> None:
        with pytest.raises(UnusableEpisode, match="no object"):
            sample_of(HERMES, "ok", request={"chat_template_kwargs": kwargs})

    def test_arguments_nested_beyond_what_can_be_written_are_refused(self) -> None:
        deep: dict[str, Any] = {}
        for _ in range(5000):
            deep = {"a": deep}
        for reply, messages in ((message(call(deep)), (USER,)), ("ok", (USER, message(call(deep)), USER))):
            with pytest.raises(UnusableEpisode):
                sample_of(HERMES, reply, messages=messages)

    def test_names_and_arguments_in_other_scripts_are_rendered_and_found_again(self) -> None:
        _, target = texts_of(HERMES, message(call({"größe": "“ü” 漢"}, name="stock price")))
        assert '"stock price"' in target
        assert "größe" in target

    def test_forty_tools_are_rendered(self) -> None:
        tools = [{"type": "function", "function": {"name": f"t{number}"}} for number in range(40)]
        prompt, _ = texts_of(HERMES, "ok", request={"tools": tools})
        assert prompt.count('"description": null') == 40


class TestThoughts:
    ANSWERED = "<|im_start|>assistant\n"

    def test_a_prompt_that_opens_a_thought_refuses_a_reply_rendered_without_one(self) -> None:
        with pytest.raises(UnusableEpisode, match="continuation"):
            sample_of(CHATML + OPEN + "<think>\n{% endif %}", "Order 7 is cancelled.")

    def test_a_template_that_closes_the_thought_itself_is_followed(self) -> None:
        thinking = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n"
            "{% if m.role == 'assistant' %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}"
            "{{ m.content }}<|im_end|>\n{% endfor %}" + OPEN + "<think>\n{% endif %}"
        )
        prompt, target = texts_of(thinking, "Done.")
        assert (prompt[-8:], target) == ("<think>\n", "\n</think>\n\nDone.<|im_end|>")
        _, target = texts_of(thinking, message(content="Done.", reasoning="it is theirs"))
        assert target == "it is theirs\n</think>\n\nDone.<|im_end|>"

    @pytest.mark.parametrize(
        "thought",
        ["<think>\n\n</think>\n\n", "[THINK][/THINK]", "<|START_THINKING|><|END_THINKING|>"],
    )
    def test_a_thought_without_words_in_the_prompt_need_not_be_rendered_again(self, thought: str) -> None:
        template = CHATML + OPEN + "{% if enable_thinking is false %}" + thought + "{% endif %}{% endif %}"
        request = {"chat_template_kwargs": {"enable_thinking": False}}
        prompt, target = texts_of(template, "<b>Done.", request=request)
        assert (prompt.endswith(thought), target) == (True, "<b>Done.<|im_end|>")
        assert not texts_of(template, "Done.")[0].endswith(thought)

    def test_no_reasoning_effort_is_no_thinking_as_vllm_says(self) -> None:
        template = CHATML + OPEN + "{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}"
        assert texts_of(template, "ok", request={"reasoning_effort": "none"})[0].endswith("</think>")
        assert texts_of(template, "ok", request={"reasoning_effort": "low"})[0].endswith("assistant\n")

    def test_reasoning_that_the_template_strips_from_earlier_turns_stays_stripped(self) -> None:
        template = (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n"
            "{% if m.reasoning and loop.last %}<think>{{ m.reasoning }}</think>{% endif %}{{ m.content }}"
            "<|im_end|>\n{% endfor %}" + OPEN + "{% endif %}"
        )
        earlier = {"role": "assistant", "content": "41", "reasoning": "count"}
        prompt, target = texts_of(
            template, message(content="ok", reasoning="sum"), messages=(USER, earlier, USER)
        )
        assert "count" not in prompt
        assert target == "<think>sum</think>ok<|im_end|>"


class TestInstructions:
    def test_developers_are_the_system_where_the_template_does_not_know_them(self) -> None:
        messages = ({"role": "system", "content": "a"}, USER, {"role": "developer", "content": "b"})
        prompt, _ = texts_of(CHATML + OPEN + "{% endif %}", "ok", messages=messages)
        assert prompt.startswith("<|im_start|>system\na\n\nb<|im_end|>\n<|im_start|>user\n")
        known = "{% if messages[0].role == 'developer' %}{% endif %}" + CHATML + OPEN + "{% endif %}"
        prompt, _ = texts_of(known, "ok", messages=({"role": "developer", "content": "b"}, USER))
        assert prompt.startswith("<|im_start|>developer\nb")

    def test_a_refused_system_message_refuses_the_episode(self) -> None:
        template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        with pytest.raises(UnusableEpisode, match="refuses these messages"):
            sample_of(
                template + CHATML + OPEN + "{% endif %}",
                "ok",
                messages=({"role": "system", "content": "a secret"}, USER),
            )

    def test_a_date_is_that_of_the_request(self) -> None:
        template = "Today: {{ strftime_now('%d %b %Y') }}\n" + CHATML + OPEN + "{% endif %}"
        assert texts_of(template, "ok", asked_s=1_795_348_800.0)[0].startswith("Today: 22 Nov 2026")

    @pytest.mark.parametrize("name", sorted(NOT_ARGUMENTS))
    def test_no_event_brings_a_template_of_its_own(self, name: str) -> None:
        with pytest.raises(UnusableEpisode, match="no argument of a template"):
            sample_of(CHATML + OPEN + "{% endif %}", "ok", request={"chat_template_kwargs": {name: "x"}})


class TestTheBorder:
    def test_tokens_do_not_merge_across_the_border(self) -> None:
        template = CHATML + OPEN + "{% endif %}"
        tokens, sample = tokens_of(template), sample_of(template, "\n\nok")
        prompt = "<|im_start|>user\nbolts?<|im_end|>\n<|im_start|>assistant\n"
        assert list(sample.prompt_ids) == tokens.text_ids(prompt)
        assert list(sample.reply.token_ids) == tokens.text_ids("\n\nok<|im_end|>")

    def test_the_served_prompt_is_trained_token_by_token(self) -> None:
        template = "Today: {{ strftime_now('%d %b') }}\n" + CHATML + OPEN + "{% endif %}"
        tokens = tokens_of(template)
        served = tuple(
            tokens.text_ids("Today: 01 Jan\n<|im_start|>user\nbolts?<|im_end|>\n<|im_start|>assistant\n")
        )
        sample = tokens.sample(episode_of("ok", prompt_ids=served, asked_s=1_795_348_800.0), tokens_max=512)
        assert (sample.prompt_ids, sample.is_rendered) == (served, False)
        assert tokens.sample(episode_of("ok"), tokens_max=512).is_rendered

    def test_a_served_prompt_that_opens_the_reply_otherwise_is_refused(self) -> None:
        tokens = tokens_of(CHATML + OPEN + "{% endif %}")
        served = tuple(
            tokens.text_ids("<|im_start|>user\nbolts?<|im_end|>\n<|im_start|>assistant\n<think>\n")
        )
        with pytest.raises(UnusableEpisode, match="ends otherwise"):
            tokens.sample(episode_of("ok", prompt_ids=served), tokens_max=512)

    def test_a_turn_without_a_control_token_at_its_end_gets_the_one_that_ends_turns(self) -> None:
        said = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        template = said + "{% if add_generation_prompt %}assistant: {% endif %}"
        sample = sample_of(template, "ok")
        assert sample.reply.token_ids[-1] == tokens_of(template).end_of_turn_id

    def test_what_a_template_writes_after_the_whole_conversation_is_no_target(self) -> None:
        whole = CHATML + OPEN + "{% else %}<|endoftext|>{% endif %}"
        prompt, target = texts_of(whole, "ok")
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
        assert target == "ok<|im_end|>"

    def test_a_template_that_trims_teaches_what_it_renders(self) -> None:
        template = CHATML.replace("m.content", "m.content | trim") + OPEN + "{% endif %}"
        assert texts_of(template, "  ok \n")[1] == "ok<|im_end|>"

    def test_a_template_that_changes_the_reply_refuses_it(self) -> None:
        template = CHATML.replace("m.content", "m.content | replace('ok', 'no')") + OPEN + "{% endif %}"
        with pytest.raises(UnusableEpisode, match="changes the reply"):
            sample_of(template, "ok")


class TestWeightsAndSampledTokens:
    def test_half_of_the_mass_of_a_corrected_call_lies_on_what_was_changed(self) -> None:
        wanted, said = message(call('{"item": "vvvv"}')), message(call('{"item": "zzzz"}'))
        episode = episode_of(wanted, rejected=Weighted(text="said", message=said))
        sample = tokens_of(HERMES).sample(episode, tokens_max=512)
        assert sample.rejected is not None
        text = tiny_base.build_tokenizer().decode(list(sample.reply.token_ids))
        at = text.index("vvvv")
        assert sum(sample.reply.weights[at : at + 4]) == pytest.approx(0.5)
        assert sum(sample.rejected.weights) == pytest.approx(1.0)

    def test_what_was_sampled_is_rejected_not_what_was_shown(self) -> None:
        sampled = (60, 61, 62, 2)
        rejected = Weighted(text="said", message=message(call('{"item": ')), sampled_ids=sampled)
        sample = tokens_of(HERMES).sample(episode_of(message(call()), rejected=rejected), tokens_max=512)
        assert sample.rejected is not None
        assert sample.rejected.token_ids == sampled

    def test_a_rejected_call_that_cannot_be_rendered_is_left_out(self) -> None:
        rejected = Weighted(text="said", message=message(call('{"item": ')))
        sample = tokens_of(HERMES).sample(episode_of(message(call()), rejected=rejected), tokens_max=512)
        assert sample.rejected is None

    def test_an_approved_reply_is_held_to_the_tokens_that_were_sampled(self) -> None:
        reply = Weighted(text="Done.", sampled_ids=(60, 61, 62, 2))
        episode = replace(episode_of("Done."), reply=reply)
        sample = tokens_of(CHATML + OPEN + "{% endif %}").sample(episode, tokens_max=512)
        assert sample.reply.token_ids == (60, 61, 62, 2)
        assert sample.reply.weights == (0.25,) * 4


def test_a_text_completion_is_continued_as_it_stands() -> None:
    request = {"plain_text": True}
    prompt, target = texts_of(HERMES, "bolts are out", request=request)
    assert (prompt, target) == ("bolts?", "bolts are out<|im_end|>")
    served = sample_of(HERMES, "bolts are out", request=request, prompt_ids=(7, 8))
    assert served.prompt_ids == (7, 8)
    with pytest.raises(UnusableEpisode, match="text completion"):
        sample_of(HERMES, message(call()), request=request)


def test_more_messages_than_one_are_a_chat_whatever_they_were_captured_with() -> None:
    prompt, _ = texts_of(HERMES, "no", messages=(USER, USER), request={"plain_text": True})
    assert prompt.startswith("<|im_start|>user")
