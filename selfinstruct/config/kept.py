"""The options that a run directory keeps from one command for the next, and how to drop them again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pydantic import BaseModel

from selfinstruct.config.load import did_you_mean
from selfinstruct.errors import ConfigError
from selfinstruct.text import shorten

ALL = "all"
"""Instead of a name: every option of the section."""


def named(section: BaseModel, names: Iterable[str]) -> list[str]:
    """Return the options of a section that names on the command line mean.

    Args:
        section: as it is kept.
        names: with or without dashes and section; `all`: every option.

    Raises:
        ConfigError: the section has no such option.
    """
    known = list(dict.fromkeys([*type(section).model_fields, *section.model_dump()]))
    options = []
    for name in names:
        option = name.lstrip("-").replace("-", "_").rpartition(".")[2]
        if option != ALL and option not in known:
            raise ConfigError(f"--unset {name}: there is no such option{did_you_mean(option, known)}")
        options += known if option == ALL else [option]
    return options


def changed(section: BaseModel, but: Collection[str] = ()) -> list[str]:
    """Return the options that are not at their defaults, as on a command line: `--max-steps 3`.

    Args:
        section: of the configuration.
        but: names of options to leave out.
    """
    defaults = type(section)().model_dump()
    values = {name: value for name, value in section.model_dump().items() if name not in but}
    return [_spelled(name, value) for name, value in values.items() if name not in defaults or value != defaults[name]]


def _spelled(name: str, value: Any) -> str:
    option = f"--{name.replace('_', '-')}"
    if value is True:
        return option
    several = value if isinstance(value, list | tuple) else [value]
    return " ".join([option, *(shorten(item, 60, 1) for item in several)])
