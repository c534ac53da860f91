"""A default stands in `daemon.settings` alone: what a setting feeds has none of its own."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass

from tests.unit.test_house import ROOT, python_files

SETTINGS = ("Settings",)


def fed_fields() -> Iterator[tuple[str, type, str]]:
    """Place, options class and field of each keyword argument in `daemon/` that a setting is passed to."""
    for path in python_files("daemon"):
        tree = ast.parse(path.read_text())
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            names = settings_names(function)
            for call in ast.walk(function):
                if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                    continue
                fed = [word.arg for word in call.keywords if word.arg and reads(word.value, names)]
                built = named(module, call.func.id, function) if fed else None
                if inspect.isclass(built) and is_dataclass(built):
                    for name in fed:
                        yield f"{path.relative_to(ROOT)}:{call.lineno}", built, name


def settings_names(function: ast.FunctionDef) -> set[str]:
    """Names in the function that stand for settings or a section of them."""
    arguments = (*function.args.args, *function.args.kwonlyargs)
    names = {
        argument.arg
        for argument in arguments
        if argument.annotation is not None and ast.unparse(argument.annotation).strip('"').endswith(SETTINGS)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and reads(node.value, names):
            names |= {
                name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
    return names


def reads(value: ast.expr, names: set[str]) -> bool:
    """Whether the expression is an attribute of one of these names, perhaps in a calculation or a tuple."""
    return any(
        isinstance(node, ast.Attribute) and root_of(node) in names and not is_called(node, value)
        for node in ast.walk(value)
    )


def root_of(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def is_called(node: ast.Attribute, value: ast.expr) -> bool:
    """Whether the attribute is an argument of a call, whose result is something else than the setting."""
    return any(
        isinstance(call, ast.Call) and call is not value and any(node is inner for inner in ast.walk(call))
        for call in ast.walk(value)
    ) or isinstance(value, ast.Call)


def named(module: str, name: str, function: ast.FunctionDef) -> object:
    """What the name stands for in the module, or in an import of the function."""
    for node in ast.walk(function):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return getattr(importlib.import_module(str(node.module)), name)
    return getattr(importlib.import_module(module), name, None)


def test_an_options_class_repeats_no_default_of_a_setting() -> None:
    repeated = {
        f"{built.__module__}.{built.__name__}.{name} ({place})"
        for place, built, name in fed_fields()
        if inspect.signature(built).parameters[name].default is not inspect.Parameter.empty
    }
    assert repeated == set()


def test_the_search_finds_the_options_that_settings_feed() -> None:
    found = {(built.__name__, name) for _, built, name in fed_fields()}
    assert found >= {
        ("IntakeOptions", "records_max"),
        ("TurnLimits", "new_max"),
        ("LearnerOptions", "slots"),
        ("GateLimits", "alpha"),
        ("AskingOptions", "tokens_max"),
        ("ReplicaOptions", "adapters_max"),
        ("GatewayOptions", "port"),
    }
