"""Trains the tokenizer of the base model: 768 byte-level pieces, single digits, the space a token of its own.

A word then has the same tokens after a space, a quote or a bracket, so that a model this small can copy it
exactly. The chat template is ChatML; it writes tools as `lookup(order)` at the end of the system message, and
calls of them as Qwen does, without spaces. Two more tokens begin and end a call.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

VOCABULARY = 768
PADDING, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CALL, CALL_END = "<tool_call>", "</tool_call>"  # as vLLM's parser `hermes` reads them
_TOOLS = (
    "tools:{% for tool in tools %} {{ tool.function.name }}"
    "({{ ((tool.function.parameters or {}).properties or {}) | join(',') }}){% endfor %}"
)
_CALLS = (
    "{% for call in message.tool_calls or [] %}"
    '<tool_call>{"name":"{{ call.function.name }}","arguments":'
    "{% if call.function.arguments is string %}{{ call.function.arguments }}"
    "{% else %}{{ call.function.arguments | tojson(separators=(',', ':')) }}{% endif %}}</tool_call>"
    "{% endfor %}"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and tools and message['role'] != 'system' %}"
    f"<|im_start|>system\n{_TOOLS}<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] or '' }}"
    "{% if loop.first and tools and message['role'] == 'system' %}"
    f"{{{{ '\n' }}}}{_TOOLS}"
    "{% endif %}"
    f"{_CALLS}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS_DIGITS_SPACES_SIGNS = r"\p{L}+|\p{N}|\s|[^\p{L}\p{N}\s]+"


def train_tokenizer(texts: Iterable[str]) -> Any:
    """A transformers tokenizer with the most frequent pieces of `texts`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS_DIGITS_SPACES_SIGNS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PADDING, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, eos_token=END, pad_token=PADDING, padding_side="left"
    )
    tokenizer.add_tokens([CALL, CALL_END])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write tokenizer and chat template to `folder`, as transformers and vLLM expect them."""
    tokenizer.save_pretrained(folder)


def chat(system: str, prompt: str) -> str:
    """One system and one user message in the chat template, up to where the reply begins."""
    return f"{START}system\n{system}{END}\n{START}user\n{prompt}{END}\n{START}assistant\n"


def word_pieces(tokenizer: Any) -> tuple[str, ...]:
    """The vocabulary's lower-case pieces of at most six letters."""
    return tuple(
        sorted(
            piece
            for piece in tokenizer.get_vocab()
            if piece.isascii() and piece.isalpha() and piece.islower() and len(piece) <= 6
        )
    )
