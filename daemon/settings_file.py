"""Reads the settings from `clorad.toml` and from the environment; the only module that reads the environment.

A variable `CLORAD_SECTION__NAME` overrides the value in the file (`--config`, or `clorad.toml` here). A
name that
is no setting is refused in one line: a misspelt setting must not leave its default in force unnoticed.
"""

import difflib
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource, PydanticBaseSettingsSource

from daemon.settings import VARIABLE_PREFIX, Settings

RENAMED: Mapping[str, str] = {"scorers.*.secret_header": "scorers.*.header"}
"""Settings that had another name, old to new: `section.name`, or `agents.*.name` for a setting of agents."""

REMOVED = frozenset(
    {
        "fleet.lease_s",
        "fleet.tick_s",
        "gateway.feedback_in_flight_max",
        "gateway.poll_s",
        "learning.idle_s",
        "learning.lease_s",
    }
)
"""Settings that older versions had, and whose value is a constant now."""

_ANY_NAME = "*"

_Path = tuple[str, ...]
"""A setting's name in parts: sections first."""


class SettingsRefused(Exception):
    """The settings cannot be used. The text is one line: the name, the type of the value, what is allowed."""


def read_settings(config: Path | None = None) -> Settings:
    """The settings from `config` (default: clorad.toml here, if there is one) and the environment.

    A setting under its old name is read, and a line on standard error gives the new name. Raises
    `SettingsRefused` with one line for the first thing that is wrong.
    """
    if config is not None and not config.is_file():
        raise SettingsRefused(f"--config: no such file: {config}")
    file = config or Path("clorad.toml")
    variables = _checked(_from_environment(), shown=_variable, source="the environment")
    table = _checked(dict(_leaves(_table(file))), shown=_dotted, source=str(file))
    try:
        return _settings_class(variables, table)()
    except ValidationError as refusal:
        raise SettingsRefused(one_line(refusal)) from None
    except ValueError as refusal:  # a variable that is not JSON
        raise SettingsRefused(f"settings cannot be read: {refusal}") from None


def one_line(refusal: ValidationError) -> str:
    """The first fault in one line: the setting's name, the type of its value, what is allowed."""
    first = refusal.errors(include_url=False, include_context=False)[0]
    path = tuple(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":  # within JSON in a variable; other names were checked before
        return f"{_dotted(path)}: no such setting; {_hint(path, _dotted)}"
    reason = first["msg"].removeprefix("Value error, ")  # pydantic's, before the text of `setting_checks`
    if not path:  # about several settings, which it names
        return reason
    return f"{_dotted(path)}: got {type(first['input']).__name__}{_if_no_text(first['input'])}; {reason}"


def _settings_class(variables: Mapping[_Path, str], table: Mapping[_Path, Any]) -> type[Settings]:
    """A class for one call: pydantic-settings asks the class for the sources of values."""

    class SettingsOfCall(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            assert isinstance(env_settings, EnvSettingsSource)
            env_settings.env_vars = {_variable(path).lower(): value for path, value in variables.items()}
            return (init_settings, env_settings, InitSettingsSource(settings_cls, _nested(table)))

    return SettingsOfCall


def _from_environment() -> dict[_Path, str]:
    return {
        tuple(name[len(VARIABLE_PREFIX) :].lower().split("__")): value
        for name, value in sorted(os.environ.items())
        if name.upper().startswith(VARIABLE_PREFIX)
    }


def _table(file: Path) -> dict[str, Any]:
    """The table in the file; an empty one if there is no file."""
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as refusal:
        raise SettingsRefused(f"{file} cannot be read as TOML: {refusal}") from None
    except OSError as fault:
        raise SettingsRefused(f"{file} cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsRefused(f"{file} cannot be read: it is not UTF-8") from None


def _checked(values: Mapping[_Path, Any], *, shown: Callable[[_Path], str], source: str) -> dict[_Path, Any]:
    """The values under their present names. Raises `SettingsRefused` for a name that is no setting."""
    checked: dict[_Path, Any] = {}
    for path, value in values.items():
        name = _present_name(path)
        if name != path:
            if name in values:
                raise SettingsRefused(f"{shown(path)} in {source}: the old name of {shown(name)}, given too")
            sys.stderr.write(f"clorad: {shown(path)} in {source} is called {shown(name)} now\n")
        if ".".join(path) in REMOVED:
            raise SettingsRefused(
                f"{shown(path)}: only an older clorad had this setting, which is in {source};"
                " its value is fixed now: remove the line"
            )
        if unknown := _unknown_part(name):
            raise SettingsRefused(f"{shown(path)}: no such setting in {source}; {_hint(unknown, shown)}")
        checked[name] = value
    return checked


def _present_name(path: _Path) -> _Path:
    for old, new in RENAMED.items():
        pattern = tuple(old.split("."))
        if len(path) >= len(pattern) and _agree(path, pattern):
            own_names = iter(given for given, part in zip(path, pattern, strict=False) if part == _ANY_NAME)
            name = (next(own_names) if part == _ANY_NAME else part for part in new.split("."))
            return (*name, *path[len(pattern) :])
    return path


def _unknown_part(path: _Path) -> _Path:
    """The shortest beginning of the path that no setting has; empty if there is none.

    A path may end before a setting's name does, or go on after it. Pydantic decides whether it may.
    """
    names = list(_setting_names(Settings))
    beginnings = (path[:length] for length in range(1, len(path) + 1))
    return next((part for part in beginnings if not any(_agree(part, name) for name in names)), ())


def _hint(unknown: _Path, shown: Callable[[_Path], str]) -> str:
    """The nearest setting, of the same section if possible; else the names of the section."""
    section = unknown[:-1]
    names = [_with_own_names(name, section) for name in _setting_names(Settings)]
    beside = list(dict.fromkeys(name[: len(unknown)] for name in names if name[: len(section)] == section))
    for candidates in (beside, names):
        by_last_part = {name[-1]: name for name in reversed(candidates)}
        if near := difflib.get_close_matches(unknown[-1], by_last_part, n=1):
            return f"the nearest is {shown(by_last_part[near[0]])}"
    return f"known: {', '.join(name[-1] for name in beside if name != ('failpoint',))}"


def _setting_names(section: type[BaseModel], above: _Path = ()) -> Iterator[_Path]:
    """The name of every setting, with `*` for a name that people choose."""
    for name, field in section.model_fields.items():
        path = (*above, name)
        kinds = get_args(field.annotation) or (field.annotation,)
        inner = kinds[-1]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _setting_names(inner, (*path, _ANY_NAME) if len(kinds) > 1 else path)
        else:
            yield path


def _with_own_names(name: _Path, section: _Path) -> _Path:
    """The setting's name with the names that people chose in this section."""
    own = section if _agree(name, section) else ()
    return tuple(
        own[depth] if part == _ANY_NAME and depth < len(own) else part for depth, part in enumerate(name)
    )


def _agree(path: _Path, pattern: _Path) -> bool:
    """Whether one of both is a beginning of the other."""
    return all(
        _ANY_NAME in (left, right) or left == right for left, right in zip(path, pattern, strict=False)
    )


def _leaves(table: Mapping[str, Any], above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Every value of a nested table under its path; an empty table is a value."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _nested(values: Mapping[_Path, Any]) -> dict[str, Any]:
    """The reverse of `_leaves`."""
    table: dict[str, Any] = {}
    for path, value in values.items():
        section = table
        for name in path[:-1]:
            section = section.setdefault(name, {})
        section[path[-1]] = value
    return table


def _dotted(path: _Path) -> str:
    return ".".join(path)


def _variable(path: _Path) -> str:
    return VARIABLE_PREFIX + "__".join(path).upper()


def _if_no_text(value: Any) -> str:
    """The value, if it is a number or a boolean: a text may be a secret."""
    return f" {json.dumps(value)}" if isinstance(value, bool | int | float) else ""
