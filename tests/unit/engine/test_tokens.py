"""Episodes become prompt ids and weighted target tokens."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base_model import BaseRefused
from engine.chat_template import UnusableEpisode
from engine.tokens import TargetTokens, Tokens
from rewards.episode import Episode, Part, SampledTokens, Span, Weighted
from rewards.spans import weigh
from tests.unit.engine import tiny_base

TOKENIZER = tiny_base.build_tokenizer()
TOKENS = Tokens(TOKENIZER, vocabulary=288)
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")


def answer_to(reply: Weighted) -> TargetTokens:
    episode = replace(tiny_base.build_episode("a", "b"), reply=reply)
    return TOKENS.sample(episode, tokens_max=512).reply


def test_a_prompt_is_rendered_by_the_chat_template_up_to_the_reply():
    messages = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"})
    assert TOKENS.render(messages) == (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert TOKENIZER.decode(TOKENS.text_ids(TOKENS.render(messages))) == TOKENS.render(messages)


def test_a_message_in_parts_reads_as_its_text():
    parts = [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]
    assert TOKENS.render([{"role": "user", "content": parts}]) == TOKENS.render(
        [{"role": "user", "content": "hi\nthere"}]
    )


def test_the_end_of_the_turn_is_always_a_target():
    answer = answer_to(Weighted(text="ok"))
    assert TOKENS.end_of_turn_id == END
    assert answer.token_ids[-1] == END
    assert answer.weights == (1 / 3, 1 / 3, 1 / 3)


def test_half_of_the_mass_lies_on_what_was_changed():
    answer = answer_to(Weighted(text="abcdefgh", spans=(Span(start=2, end=4, weight=1.0),)))
    assert answer.weights[2:4] == (0.25, 0.25)
    assert sum(answer.weights) == pytest.approx(1.0)
    assert answer.weights[0] == answer.weights[-1] == pytest.approx(0.5 / 7)


def test_half_of_a_corrections_mass_lies_on_its_changes_and_the_end_counts_as_unchanged():
    _, corrected = weigh('{"tool":"cancel","order":10}', '{"tool":"cancel","order":10,"notify":true}')
    answer = answer_to(corrected)
    changed = corrected.text.index(',"notify":true')
    assert sum(answer.weights[changed : changed + 14]) == pytest.approx(0.5)
    unchanged = len(corrected.text) - 14
    assert answer.weights[0] == answer.weights[-1] == pytest.approx(0.5 / (unchanged + 1))


def test_spans_weigh_against_each_other():
    spans = (Span(start=0, end=1, weight=3.0), Span(start=2, end=3, weight=1.0))
    answer = answer_to(Weighted(text="abc", spans=spans))
    assert answer.weights == pytest.approx((0.375, 0.25, 0.125, 0.25))


def is_ordinary(text: str) -> bool:
    """Whether the text has no control token; Hypothesis also draws texts that stand in the code."""
    return not any(token in text for token in TOKENIZER.get_added_vocab())


@given(st.text(min_size=1, max_size=20).filter(is_ordinary), st.data())
def test_every_targets_weights_are_positive_and_sum_to_one(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    answer = answer_to(Weighted(text=text, spans=(Span(start=start, end=end, weight=2.0),)))
    assert sum(answer.weights) == pytest.approx(1.0)
    assert min(answer.weights) > 0
    assert len(answer.token_ids) == len(text.encode()) + 1


@pytest.mark.parametrize(
    ("episode", "reason"),
    [
        (tiny_base.build_episode("a", ""), "empty target"),
        (tiny_base.build_episode("a", "x" * 600), "too long: "),
        (tiny_base.build_episode("a" * 600, "x"), "too long: "),
        (tiny_base.build_episode("a", "<|im_end|> and more"), "control tokens"),
        (tiny_base.build_episode("a", "b", advantage=0.5), "without the tokens"),
        (
            tiny_base.build_episode(
                "a", "b", advantage=0.5, sampled=SampledTokens(token_ids=(), logprobs=())
            ),
            "empty target",
        ),
        (
            tiny_base.build_episode(
                "a", "b", advantage=0.5, sampled=SampledTokens(token_ids=(999,), logprobs=(-1.0,))
            ),
            "another vocabulary",
        ),
    ],
)
def test_an_unusable_episode_is_refused_with_its_reason(episode, reason):
    with pytest.raises(UnusableEpisode, match=reason) as caught:
        TOKENS.sample(episode, tokens_max=512)
    assert "xxx" not in str(caught.value)


def test_the_targets_of_an_advantage_are_the_sampled_tokens():
    sample = TOKENS.sample(
        tiny_base.build_episode("a", "hey", advantage=-1.0, sampled=tiny_base.build_sampled_tokens("hey")),
        tokens_max=512,
    )
    assert sample.reply.sampled_logprobs == (-1.0,) * 4
    assert sample.part is Part.NEW
    assert TOKENIZER.decode(sample.reply.token_ids) == "hey<|im_end|>"


def test_an_episode_that_the_chat_template_refuses_is_unusable():
    strict = tiny_base.build_tokenizer()
    strict.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception(messages[0].content) }}{% endif %}"
        + strict.chat_template
    )
    tokens = Tokens(strict, vocabulary=288)
    with pytest.raises(UnusableEpisode) as caught:
        tokens.render([{"role": "system", "content": "a secret"}])
    assert "secret" not in str(caught.value)


def test_a_base_without_a_chat_template_is_refused_by_name():
    plain = tiny_base.build_tokenizer()
    plain.chat_template = None
    with pytest.raises(BaseRefused, match="chat template"):
        Tokens(plain, vocabulary=288)


@pytest.mark.parametrize(
    "episode",
    [
        tiny_base.build_episode("what is [PAD]?", "padding"),
        tiny_base.build_episode("what pads?", "it is [TAIL] then"),
        tiny_base.build_episode("what pads?", "it", rejected=Weighted(text="no, [TAIL]")),
    ],
)
def test_a_text_with_a_token_beyond_the_embeddings_ends_its_own_episode_only(episode: Episode) -> None:
    tokenizer = tiny_base.build_tokenizer()
    vocabulary = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.add_tokens(["[TAIL]"])
    with pytest.raises(UnusableEpisode, match="no embedding"):
        Tokens(tokenizer, vocabulary=vocabulary).sample(episode, tokens_max=512)


def test_a_template_that_renders_by_chance_is_refused() -> None:
    tokenizer = tiny_base.build_tokenizer()
    tokenizer.chat_template = "{{ ['a', 'b'] | random }}" + tokenizer.chat_template
    with pytest.raises(BaseRefused, match="by chance"):
        Tokens(tokenizer, vocabulary=288)
