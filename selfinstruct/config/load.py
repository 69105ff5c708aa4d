"""Load a configuration: values from the command line win over the environment, the YAML file, the recipe, the defaults.

An error names where the value was given: the option, the variable, or the file with line and key.
"""

from __future__ import annotations

import difflib
import re
import stat
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from yaml.composer import Composer

from selfinstruct.config.schema import Config, Recipe
from selfinstruct.environment import variable_of
from selfinstruct.errors import ConfigError

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where PyYAML has it: five times as fast."""

RECIPES = Path(__file__).parent / "recipes"
_RENAMED = {"earlier": "parent_runs"}
"""Options as older versions wrote them into the config.yaml of their runs, and their names now."""

STANDARD_INPUT = Path("-")
"""Name of a configuration file that is read from stdin."""

_OPEN_FILES = (("/", "dev", "fd"), ("/", "dev", "stdin"), ("/", "proc", "self"))
"""Beginnings of the paths of files that a process has open already."""


def load_config(
    path: Path | None,
    overrides: dict[str, Any],
    environment: dict[str, Any] | None = None,
    dropped: Collection[str] = (),
) -> Config:
    """Return the configuration of a file, overridden by the environment and then by `overrides`.

    Args:
        path: the YAML file; `-` is stdin, None is no file.
        overrides: values from the command line by dotted name (`filters.threshold`).
        environment: values of environment variables, likewise by dotted name.
        dropped: options in sections of the file that do not count, likewise.

    Raises:
        ConfigError: the message names every wrong option, variable or key, with its line in the file and a suggestion.
    """
    source = _Source(path, overrides, environment or {})
    values = source.read()
    for name in dropped:
        of_section, _, option = name.partition(".")
        (values.get(of_section) or {}).pop(option, None)
    for name, value in (source.environment | overrides).items():
        section = values
        *parents, leaf = name.split(".")
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = {}
            section = section[parent]
            if not isinstance(section, dict):
                raise ConfigError(f"{source.where([parent])}: must be a section of options, got {section!r}")
        section[leaf] = value
    if values.get("recipe") in get_args(Recipe):
        values = _above(recipe_values(values["recipe"]), values)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(source, details) for details in error.errors())) from error


def recipe_values(name: Recipe) -> dict[str, Any]:
    """Return the options that a recipe sets."""
    return load_yaml(RECIPES / f"{name}.yaml")


def _above(recipe: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the user's values and, for the options that these leave out, those of a recipe.

    Sections are merged. A mapping that is one option (`proposers`) is taken as a whole.
    """
    merged = recipe | values
    for name, info in Config.model_fields.items():
        section = isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
        if section and name in recipe and isinstance(own_values := values.get(name) or {}, dict):
            merged[name] = recipe[name] | own_values
    return merged


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, not validated.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or contains no mapping.
    """
    return _Source(path, {}, {}).read()


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean ...?`, or nothing when no known name is similar.

    Args:
        name: as it was written.
        known: the right names.
        cutoff: least similarity, in [0, 1].
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


_MOST_VALUES = 100_000
"""Of a configuration; a few aliases of aliases make billions."""


@dataclass
class _Source:
    """Remembers where each value was given, for error messages."""

    path: Path | None
    overrides: dict[str, Any]
    environment: dict[str, Any]
    text: str = ""

    @property
    def name(self) -> str:
        """Return the file's name for messages."""
        return "standard input" if self.path == STANDARD_INPUT else str(self.path)

    def read(self) -> dict[str, Any]:
        """Return the file's mapping; empty without a file."""
        if self.path is None:
            return {}
        try:
            raw = sys.stdin.buffer.read() if self.path == STANDARD_INPUT else _bytes(self.path)
            self.text = raw.decode("utf-8-sig")
            value = yaml.load(self.text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        except OSError as error:
            raise ConfigError(f"{self.name}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self.name}: not UTF-8: {error}") from error
        except yaml.MarkedYAMLError as error:
            last = len(self.text.splitlines())  # Where the end comes too early, libyaml names the line after it.
            line = f", line {min(error.problem_mark.line + 1, last)}" if error.problem_mark else ""
            raise ConfigError(f"{self.name}{line}: not valid YAML: {error.problem}") from error
        except RecursionError as error:
            raise ConfigError(f"{self.name}: nested too deeply") from error
        except (yaml.YAMLError, ValueError) as error:  # an impossible date is a ValueError
            raise ConfigError(f"{self.name}: not valid YAML: {error}") from error
        if value is None:  # An empty file.
            return {}
        if _is_larger_than(value, _MOST_VALUES):
            raise ConfigError(f"{self.name}: its aliases (`*name`) contain themselves, or add up to too many values")
        if not isinstance(value, dict):
            raise ConfigError(f"{self.name}: expected a mapping of options, got {type(value).__name__}")
        options: dict[str, Any] = value
        return {_RENAMED.get(key, key): of_key for key, of_key in options.items()}

    def where(self, keys: Sequence[str], *, together: bool = False) -> str:
        """Return where the value of these keys was given.

        Args:
            keys: of an option, or of a section.
            together: it is the options of the section that do not fit together.
        """
        dotted = ".".join(keys)
        option = ".".join(key for key in keys if not key.isdigit())  # without the index in a list
        if option in self.overrides:
            return f"option --{option.replace('_', '-')}"
        if option in self.environment:
            return f"environment variable {variable_of(option)}"
        # Options of a section that do not fit together: those of the call are what is new.
        options = [name for name in self.overrides if together and name.startswith(f"{option}.")]
        if options:
            return "option " + ", ".join(f"--{name.replace('_', '-')}" for name in options)
        if self.path is not None:
            return f"{self.name}, line {_line_of(self.text, keys)}: `{dotted}`"
        return f"`{dotted}`"


def _bytes(path: Path) -> bytes:
    """Return the content of a file. What a shell opens for a command (`<(...)`) counts as one.

    Raises:
        ConfigError: it is a pipe or a device by its own name; to read one could take for ever.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or path.parts[:3] in _OPEN_FILES):
        raise ConfigError(f"{path}: is no file but a pipe or a device; give a file, or `-` to read standard input")
    return path.read_bytes()


class _Reader(Composer, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """SafeLoader that reads words with libyaml, where PyYAML has it: three times as fast.

    Python puts them together: libyaml's own composer crashes on deep nesting, Python's raises `RecursionError`.
    """

    def __init__(self, stream: str) -> None:
        super(Composer, self).__init__(stream)
        Composer.__init__(self)


class _Loader(_Reader):
    """SafeLoader that reads `1e-5` as a float, `no` and `19:30` as text, as YAML 1.2 does, and refuses repeated keys.

    `save_strategy: no` is TRL's own spelling; YAML 1.1 reads `19:30` as the number 1170.
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0] and ":" in value and "-" not in value:
            implicit = (False, True)
        return super().resolve(kind, value, implicit)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a word, not a list", key.start_mark)
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(None, None, "merges (`<<`) of too many keys", node.start_mark)


def _is_larger_than(value: Any, most: int) -> bool:
    """Return whether a value consists of more than `most` values. An alias counts wherever it is used."""
    left, seen = [value], 0
    while left and seen <= most:
        inner = left.pop()
        seen += 1
        left += [*inner, *inner.values()] if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
    return seen > most


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not (tag.endswith(":bool") and first in "yYnNoO")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


_PLAIN = {
    "int_from_float": "input should be a whole number",
    "model_type": "input should be a section of options",
    "dict_type": "input should be a section of options",
}
"""What pydantic says in its own terms ("a valid dictionary or instance of Filters"), by the type of the error."""


def _problem(source: _Source, error: Any) -> str:
    """Return one validation error as a sentence: where, what, the value, and what to do."""
    keys = [str(key) for key in error["loc"]]
    where = source.where(keys, together=error["type"] == "value_error")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown option{did_you_mean(keys[-1], _siblings(keys))}"
    message = _PLAIN.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    value = "" if error["type"] == "value_error" else f", got {error['input']!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{value}"


def _siblings(keys: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    for key in keys[:-1]:
        nested = section.model_fields[key].annotation if key in section.model_fields else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            return []
        section = nested
    return list(section.model_fields)


def _line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line of a key in a YAML text, from 1; without the key, that of the nearest section."""
    line = 1
    node = yaml.compose(text, Loader=_Loader)
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        pair = next(((name, value) for name, value in pairs if name.value == key), None)
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line


def dump_yaml(config: BaseModel, *, given_only: bool = False) -> str:
    """Return the configuration as YAML, which `load_config` reads back to an equal one.

    Args:
        config: the configuration.
        given_only: leave out the options that were left out; whoever reads it still knows which these are.
    """
    values = config.model_dump(mode="json", exclude_unset=given_only)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
