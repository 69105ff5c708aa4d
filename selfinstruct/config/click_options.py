"""Click options derived from `schema.py`, and the way from a command line to a `Config`.

An option's name is its path in the configuration (`--filters.threshold`); some also have a conventional short name
(`--threshold`). Options that are not given do not override the environment or the file.
"""

from __future__ import annotations

import json
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from selfinstruct import environment
from selfinstruct.config.load import did_you_mean, load_config
from selfinstruct.config.schema import Config
from selfinstruct.environment import DEBUG_VARIABLE, ENVIRONMENT_PREFIX, variable_of
from selfinstruct.errors import ConfigError

Command = Callable[..., Any]
_ENGINES_OWN = f"{ENVIRONMENT_PREFIX}ENGINE_"
"""Start of the variables between the engine's processes; an option of the section `engine` has two underscores."""


class ConfigOption(click.Option):
    """An option of the configuration; the command's own options are plain ones."""

    @property
    def dotted(self) -> str:
        """Return the option's name in the configuration."""
        return str(self.name).replace("__", ".")


CONVENTIONAL_NAMES = {
    "temperature": "proposal.temperature",
    "top_p": "proposal.top_p",
    "max_tokens": "proposal.max_tokens",
    "threshold": "filters.threshold",
    "parent_run": "parent_runs",
    "finish_by": "limits.finish_by",
    "time_limit": "limits.time_limit",
    "max_tokens_total": "limits.max_tokens_total",
    "max_requests": "limits.max_requests",
    "regenerate_outputs": "regenerate.model",
    "rounds": "rounds.num_rounds",
    "patience": "rounds.patience",
}
"""Short names of options on the command line, beside their full ones."""


def config_options(*sections: str) -> Callable[[Command], Command]:
    """Return a decorator that adds the options of the named sections; `""` is the top level.

    A single option can be named, too (`answer.keep`). Options of a command's only section also have their bare names
    (`export --include-seeds`).
    """
    whole = {name.rpartition(".")[0] for name, _ in all_fields()}.intersection(sections)
    fields = [
        (name, info)
        for section in sections
        for name, info in all_fields()
        if section in (name, name.rpartition(".")[0]) and not is_section(info)
    ]

    def decorate(command: Command) -> Command:
        for name, info in reversed(fields):
            command = _option(name, info, len(whole) == 1 and name not in sections)(command)
        return command

    return decorate


def resolve_config(
    path: Path | None,
    parameters: dict[str, Any],
    passed_on: dict[str, Any] | None = None,
    dropped: Collection[str] = (),
) -> Config:
    """Return the configuration from the command line, the environment, a file and the defaults; the first of them wins.

    Args:
        path: the YAML file, or None.
        parameters: Click's; those not given are None or empty.
        passed_on: further values by dotted name (`engine.dtype`); they win over all others.
        dropped: options of the file that do not count, by dotted name.
    """
    return load_config(path, explicit_options(parameters) | (passed_on or {}), dict(_from_environment()), dropped)


def explicit_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return those of Click's parameters that were given, by dotted name."""
    return {p.replace("__", "."): value for p, value in parameters.items() if value is not None and value != ()}


def split_passed_on(arguments: Sequence[str], known: Iterable[str] = ()) -> dict[str, list[str]]:
    """Divide `--engine.dtype float32 --tune.packing` by section, without the section's name.

    Args:
        arguments: of the command line.
        known: the command's own options, to suggest one for a misspelled one.

    Raises:
        ConfigError: an argument belongs to no section.
    """
    sorted_out: dict[str, list[str]] = {"engine": [], "tune": []}
    current: str | None = None
    for argument in arguments:
        if argument.startswith("--"):
            section, dot, rest = argument[2:].partition(".")
            if not dot or section not in sorted_out:
                suggested = did_you_mean(argument.partition("=")[0], known)
                owners = "; vLLM's arguments are given as --engine.NAME, TRL's as --tune.NAME"
                raise ConfigError(f"unknown option {argument!r}{suggested or owners}")
            current = section
            sorted_out[section].append(f"--{rest}")
        elif current is None:
            raise ConfigError(f"unexpected argument {argument!r}")
        else:
            sorted_out[current].append(argument)
    return sorted_out


_REPEATABLE = ("mix",)
"""Options of tuning that may be given several times. Of any other one the last counts."""


def tune_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Return `--learning-rate 1e-4 --packing` as names and values; TRL itself checks them when the stage starts.

    >>> tune_arguments(
    ...     ["--learning-rate", "1e-4", "--packing", "--save-strategy=no", "--report-to", "wandb", "trackio"]
    ... )
    {'learning_rate': 0.0001, 'packing': True, 'save_strategy': 'no', 'report_to': ['wandb', 'trackio']}
    """
    words: dict[str, list[str]] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = name.replace("-", "_")
            before = words.get(name, []) if name in _REPEATABLE else []
            words[name] = [*before, value] if equals else before
        elif not name:
            raise ConfigError(f"unexpected argument {argument!r}; options look like --learning-rate 1e-4")
        else:
            words[name].append(argument)
    return {name: _values([_value(word) for word in values]) for name, values in words.items()}


def _values(values: list[Any]) -> Any:
    """Return an option's value: True without one, a list of several."""
    return True if not values else values[0] if len(values) == 1 else values


def _value(word: str) -> Any:
    """Return the number, truth value or JSON structure that the word is, else the word: `no` stays `no`."""
    try:
        return json.loads({"True": "true", "False": "false"}.get(word, word))
    except ValueError:
        return word


def all_fields(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every option with its dotted name, sections themselves included."""
    for name, info in section.model_fields.items():
        yield prefix + name, info
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from all_fields(info.annotation, f"{prefix}{name}.")


def is_section(info: FieldInfo) -> bool:
    """Return whether an option is a group of options, or holds values by names of the user's own."""
    kind = info.annotation
    return (isinstance(kind, type) and issubclass(kind, BaseModel)) or typing.get_origin(kind) is dict


def _option(name: str, info: FieldInfo, bare: bool) -> Callable[[Command], Command]:
    """Return one field as a Click option. Pydantic validates it, so that a bound is stated once."""
    conventional = next((short for short, full in CONVENTIONAL_NAMES.items() if full == name), None)
    short = name.rpartition(".")[2] if bare else conventional
    names = list(dict.fromkeys(filter(None, [short, name])))
    spelled = [f"--{n.replace('_', '-')}" for n in names]
    if name == "seeds":
        spelled.append("-s")
    parameter = name.replace(".", "__")
    kind, multiple = _click_type(info.annotation)
    if kind is bool:
        spelled = [f"--{n.replace('_', '-')}/--{_negated(n)}" for n in names]
        return click.option(*spelled, parameter, cls=ConfigOption, default=None, help=_help(info))
    shown, about = _metavar(kind), _help(info)
    return click.option(
        *spelled, parameter, cls=ConfigOption, type=kind, multiple=multiple, default=None, help=about, metavar=shown
    )


def _negated(name: str) -> str:
    section, dot, leaf = name.replace("_", "-").rpartition(".")
    return f"{section}{dot}no-{leaf}"


def _metavar(kind: Any) -> str | None:
    return None if isinstance(kind, click.Choice) else {int: "N", float: "X"}.get(kind, "TEXT")


def _help(info: FieldInfo) -> str:
    default = info.default
    if isinstance(default, tuple):
        default = " ".join(map(str, default)) if 0 < len(default) < 3 else None
    shown = (
        ""
        if default is None or default is ...
        else f"  [default: {str(default).lower() if isinstance(default, bool) else default}]"
    )
    return f"{info.description}{shown}"


def _click_type(annotation: Any) -> tuple[Any, bool]:
    """Return (Click type, whether the option may be repeated)."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return click.Choice(list(typing.get_args(annotation))), False
    if origin in (typing.Union, types.UnionType):
        return _click_type(next(a for a in typing.get_args(annotation) if a is not type(None)))
    if origin is tuple:
        return _click_type(typing.get_args(annotation)[0])[0], True
    return annotation, False


def _from_environment() -> Iterator[tuple[str, Any]]:
    """Yield the values of variables such as `SELFINSTRUCT_FILTERS__THRESHOLD`, by dotted name.

    Raises:
        ConfigError: a variable with the prefix names no option.
    """
    known = {variable_of(name): (name, info) for name, info in all_fields() if not is_section(info)}
    for variable, value in os.environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in (DEBUG_VARIABLE, environment.PARENT):
            continue
        if variable.startswith(_ENGINES_OWN) and not variable.startswith(f"{_ENGINES_OWN}_"):
            continue
        if variable not in known:
            raise ConfigError(f"environment variable {variable}: unknown option{did_you_mean(variable, known)}")
        name, info = known[variable]
        _, multiple = _click_type(info.annotation)
        yield name, tuple(value.split(os.pathsep)) if multiple else value
