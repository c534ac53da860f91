"""A calculator: evaluates sums, differences, products and quotients of numbers, and nothing else."""

import ast
import operator
import re
from collections.abc import Callable, Mapping

EXPRESSION_CHARS_MAX = 60
_CALL = re.compile(r"\s*calc\((.*)\)\s*", re.DOTALL)
_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def called_expression(text: str) -> str | None:
    """The expression in a call that is written as `calc(37+58)`; None where the text is no call."""
    match = _CALL.fullmatch(text)
    return None if match is None else match[1]


def calculate(expression: str) -> float | None:
    """The value; None where the text is no arithmetic, is too long, or divides by zero."""
    if len(expression) > EXPRESSION_CHARS_MAX:
        return None
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
            return _OPERATIONS[type(operation)](_value(left), _value(right))
        case _:
            raise ValueError("no arithmetic")
