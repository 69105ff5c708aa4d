"""What the proposers `plan` and `evolve` say, in the languages that it is written in.

Both show worked examples, because a base model continues and a small chat model imitates better than it obeys.
"""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
from msgspec import Struct

from selfinstruct.config.schema import PromptLanguage
from selfinstruct.errors import ConfigError
from selfinstruct.generation.frame import Words

_FOLDER = Path(__file__).parent / "wordings"


class PlannedTask(Struct, frozen=True, forbid_unknown_fields=True):
    """A worked example: tasks of one kind, a plan in its short and its long form, and a new task."""

    tasks: tuple[str, ...]
    short: str
    long: str
    new: str


class PlanWording(Struct, frozen=True, forbid_unknown_fields=True):
    """The words of `plan`.

    Attributes:
        word: opens a plan.
        header: the first paragraph of a text that a model continues.
        short: what a chat model is asked to do, with a short plan.
        long: likewise, with a long plan.
        examples: worked examples.
    """

    word: Words
    header: str
    short: str
    long: str
    examples: tuple[PlannedTask, ...]


class ChangedTask(Struct, frozen=True, forbid_unknown_fields=True):
    """A worked example: a task before and after the change."""

    before: str
    after: str


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """A way to change a task: what is asked, and worked examples."""

    ask: str
    examples: tuple[ChangedTask, ...]


class Wording(Struct, frozen=True, forbid_unknown_fields=True):
    """The words of one language.

    Attributes:
        new_task: opens the new task.
        plan: of `plan`.
        evolve: of `evolve`: the ways to change a task, by name.
    """

    new_task: Words
    plan: PlanWording
    evolve: dict[str, Change]


@functools.cache
def load_wording(language: PromptLanguage) -> Wording:
    """Return the words of a language.

    Raises:
        ConfigError: they are not written in it.
    """
    path = _FOLDER / f"{language}.yaml"
    if not path.exists():
        written = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.yaml")))
        raise ConfigError(
            f"prompt_language: the proposers `plan` and `evolve` are not written in {language!r}; "
            f"set their weights to 0, or use {written}"
        )
    return msgspec.yaml.decode(path.read_bytes(), type=Wording)
