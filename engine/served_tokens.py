"""Tokenises texts and conversations with a base's own files, to compare the result with a replica's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from engine.chat_template import ChatTemplate


class ServedTokens:
    """The tokenizer and chat template in the directory of a base. Raises what transformers raises for broken
    files: `OSError` or `ValueError`."""

    def __init__(self, base: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        self._template = ChatTemplate(self._tokenizer)

    def text(self, text: str) -> list[int]:
        """The tokens of a text."""
        token_ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return token_ids

    def prompt(self, messages: Sequence[Any], request: Mapping[str, Any], *, asked_s: float) -> list[int]:
        """The tokens of a conversation, up to the reply. Raises `engine.chat_template.UnusableEpisode`."""
        return self.text(self._template.prompt(messages, request, asked_s=asked_s))
