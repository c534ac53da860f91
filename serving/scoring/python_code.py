"""Compares Python code by its tokens: comments and white space that mean nothing in Python do not count.

Standard library only. Other languages have no tokenizer here; their code is compared exactly.
"""

import ast
import io
import tokenize
import warnings

_CHARS_MAX = 100_000  # of code that is parsed
_FAULTS = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)
_IGNORED = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER})
_LAYOUT = frozenset({tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})  # its width does not count
_CODE = (
    ast.Call,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.For,
    ast.While,
    ast.If,
    ast.With,
    ast.Try,
    ast.Return,
    ast.Raise,
    ast.Assert,
    ast.Lambda,
    ast.ListComp,
    ast.DictComp,
    ast.SetComp,
    ast.GeneratorExp,
)
"""What few other texts have. `key: value`, `NAME=value` and `rm -rf` parse as Python too, and are none."""


def is_python(text: str) -> bool:
    """Whether the text is Python, and hardly anything else."""
    tree = _parsed(text)
    if tree is None or any(isinstance(node, ast.AnnAssign) and node.value is None for node in tree.body):
        return False
    return any(isinstance(node, _CODE) for node in ast.walk(tree))


def is_same_python(answer: str, wanted: str) -> bool:
    """Whether both are Python with the same tokens."""
    if _parsed(answer) is None or _parsed(wanted) is None:
        return False
    try:
        return _tokens(answer) == _tokens(wanted)
    except _FAULTS:
        return False


def _parsed(text: str) -> ast.Module | None:
    if len(text) > _CHARS_MAX:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes and comparisons: they would quote what a person wrote
        try:
            return ast.parse(text.strip())
        except _FAULTS:
            return None


def _tokens(text: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(text.strip() + "\n").readline)
    return [
        (token.type, "" if token.type in _LAYOUT else token.string)
        for token in tokens
        if token.type not in _IGNORED
    ]
