"""Click options derived from `config.py`, and the way from a command line to a `Config`.

An option's name is its path in the configuration (`--filters.threshold`), some have a conventional short name besides
(`--threshold`). Options nobody gave stay out of the way of the environment and the file.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from selfinstruct.config import CONVENTIONAL_NAMES, Config, load
from selfinstruct.errors import ConfigError

Command = Callable[..., Any]
_PREFIX = "SELFINSTRUCT_"


def config_options(*sections: str) -> Callable[[Command], Command]:
    """Add the options of the named sections; `""` stands for those at the top level."""
    found = [
        (name, info)
        for section in sections
        for name, info in _fields()
        if (name.rpartition(".")[0] == section) and not _is_section(info)
    ]

    def decorate(command: Command) -> Command:
        for name, info in reversed(found):
            command = _option(name, info)(command)
        return command

    return decorate


def resolve_config(path: Path | None, given: dict[str, Any], passed_on: dict[str, Any] | None = None) -> Config:
    """The configuration from the command line over the environment over a file over defaults.

    Args:
        path: the YAML file, or None.
        given: Click's parameters; those nobody gave are None or empty.
        passed_on: further values by dotted name (`engine.dtype`), which win.
    """
    overrides = dict(_from_environment())
    for parameter, value in given.items():
        name = parameter.replace("__", ".")
        if value is not None and value != ():
            overrides[name] = value
    return load(path, overrides | (passed_on or {}))


def split_passed_on(arguments: list[str], sections: tuple[str, ...] = ("engine", "tune")) -> dict[str, list[str]]:
    """Sort `--engine.dtype float32 --tune.packing` by section, as plain arguments of the owner of each.

    Raises:
        ConfigError: an argument belongs to no section.
    """
    sorted_out: dict[str, list[str]] = {section: [] for section in sections}
    current: str | None = None
    for argument in arguments:
        if argument.startswith("--"):
            section, dot, rest = argument[2:].partition(".")
            if not dot or section not in sorted_out:
                raise ConfigError(f"unknown option {argument!r}; vLLM's arguments are given as --engine.NAME, TRL's as --tune.NAME")
            current = section
            sorted_out[section].append(f"--{rest}")
        elif current is None:
            raise ConfigError(f"unexpected argument {argument!r}")
        else:
            sorted_out[current].append(argument)
    return sorted_out


def tune_arguments(arguments: list[str]) -> dict[str, Any]:
    """`--learning-rate 1e-4 --packing` as names and values; TRL itself checks them when the stage starts."""
    values: dict[str, Any] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = name.replace("-", "_")
            values[name] = yaml.safe_load(value) if equals else True
        elif not name:
            raise ConfigError(f"unexpected argument {argument!r}; options look like --learning-rate 1e-4")
        elif values[name] is True:
            values[name] = yaml.safe_load(argument)
        else:
            values[name] = [*(values[name] if isinstance(values[name], list) else [values[name]]), yaml.safe_load(argument)]
    return values


def _fields(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every option with its dotted name, sections themselves included."""
    for name, info in section.model_fields.items():
        yield prefix + name, info
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _fields(info.annotation, f"{prefix}{name}.")


def _is_section(info: FieldInfo) -> bool:
    kind = info.annotation
    return (isinstance(kind, type) and issubclass(kind, BaseModel)) or typing.get_origin(kind) is dict


def _option(name: str, info: FieldInfo) -> Callable[[Command], Command]:
    """One field as a Click option. Validation is pydantic's, so that a bound is stated once."""
    short = next((short for short, full in CONVENTIONAL_NAMES.items() if full == name), None)
    spelled = [f"--{n.replace('_', '-')}" for n in (short, name) if n]
    if name == "seeds":
        spelled.append("-s")
    parameter = name.replace(".", "__")
    kind, multiple = _click_type(info.annotation)
    if kind is bool:
        spelled = [f"--{name.replace('_', '-')}/--{_negated(name)}"]
        return click.option(*spelled, parameter, default=None, help=_help(info))
    return click.option(*spelled, parameter, type=kind, multiple=multiple, default=None, help=_help(info), metavar=_metavar(kind))


def _negated(name: str) -> str:
    section, dot, leaf = name.replace("_", "-").rpartition(".")
    return f"{section}{dot}no-{leaf}"


def _metavar(kind: Any) -> str | None:
    return None if isinstance(kind, click.Choice) else {int: "N", float: "X"}.get(kind, "TEXT")


def _help(info: FieldInfo) -> str:
    default = info.default
    if isinstance(default, tuple):
        default = " ".join(map(str, default)) if len(default) < 3 else None
    shown = "" if default is None or default is ... else f"  [default: {str(default).lower() if isinstance(default, bool) else default}]"
    return f"{info.description}{shown}"


def _click_type(annotation: Any) -> tuple[Any, bool]:
    """(Click type, whether it may be repeated)."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return click.Choice(list(typing.get_args(annotation))), False
    if origin in (typing.Union, types.UnionType):
        return _click_type(next(a for a in typing.get_args(annotation) if a is not type(None)))
    if origin is tuple:
        return _click_type(typing.get_args(annotation)[0])[0], True
    return annotation, False


def _from_environment() -> Iterator[tuple[str, Any]]:
    """Values of `SELFINSTRUCT_NUM_INSTRUCTIONS`, `SELFINSTRUCT_FILTERS__THRESHOLD` and the like, by dotted name."""
    known = {f"{_PREFIX}{name.replace('.', '__').upper()}": (name, info) for name, info in _fields() if not _is_section(info)}
    for variable, (name, info) in known.items():
        value = os.environ.get(variable)
        if value is not None:
            _, multiple = _click_type(info.annotation)
            yield name, tuple(value.split(os.pathsep)) if multiple else value
