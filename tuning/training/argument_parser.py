"""TRL's command line with our error messages."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from trl import TrlParser

from selfinstruct.errors import ConfigError


class ArgumentParser(TrlParser):
    """TRL's parser with our error messages. `none` is accepted by optional arguments, `report_to` takes several."""

    def __init__(self, dataclass_types: Sequence[type], **options: Any) -> None:
        super().__init__(dataclass_types, **options)
        self.names = {f.name for cls in dataclass_types for f in dataclasses.fields(cls) if f.init}
        optional = {
            name for cls in dataclass_types for name, hint in typing.get_type_hints(cls).items() if _is_optional(hint)
        }
        optional.discard("report_to")  # its value `none` is a name
        for action in self._actions:
            if action.dest in optional and callable(action.type):
                action.type = _or_none(action.type)
            if action.dest == "report_to":
                action.nargs = "+"

    def error(self, message: str) -> typing.NoReturn:
        """Raise `ConfigError`; argparse would print the usage and end the program."""
        raise ConfigError(f"{message}; `python -m tuning.sft --help` lists all arguments")

    def explicit(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return the arguments that `argv` contains, without any default."""
        before = [(action, action.default, action.required) for action in self._actions]
        for action in self._actions:
            action.default, action.required = argparse.SUPPRESS, False
        try:
            namespace, rest = self.parse_known_args(list(argv))
        finally:
            for action, default, required in before:
                action.default, action.required = default, required
        if rest:
            raise ConfigError(unknown(rest[0], self.names))
        return vars(namespace)


def unknown(option: str, names: set[str]) -> str:
    """Return the message about an option that no argument has."""
    if not option.startswith("-"):
        return f"{option!r} belongs to no argument; values follow their argument: --name value"
    name = option.lstrip("-").partition("=")[0].replace("-", "_")
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean --{near[0]}?" if near else "see --help for all of SFTConfig's and ModelConfig's"
    return f"--{name}: TRL has no such argument; {remedy}"


def _is_optional(hint: Any) -> bool:
    """Return whether a type is `X | None`."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return None if text.lower() in ("none", "null") else kind(text)

    convert.__name__ = getattr(kind, "__name__", "value")  # argparse names it: invalid float value
    return convert
