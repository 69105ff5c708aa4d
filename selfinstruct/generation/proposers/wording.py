"""What `plan`, `evolve` and `single_step` say, and how a topic is named, in the language of the prompts.

`plan` and `evolve` show worked examples: a base model continues, and a small chat model imitates better than it obeys.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from selfinstruct.config.schema import PromptLanguage
from selfinstruct.generation.frame import Words
from selfinstruct.generation.proposers.topics import Topic


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


class SingleStepWording(Struct, frozen=True, forbid_unknown_fields=True):
    """The words of `single_step`: the first paragraph of a text to continue, and what a chat model is asked."""

    header: str
    ask: str


class ChangedTask(Struct, frozen=True, forbid_unknown_fields=True):
    """A worked example: a task before and after the change."""

    before: str
    after: str


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """A way to change a task: what is asked, and worked examples."""

    ask: str
    examples: tuple[ChangedTask, ...]


class TopicWording(Struct, frozen=True, forbid_unknown_fields=True):
    """How a topic is named. The sentences hold {subject}, and those of the second kind {user}, too.

    Attributes:
        one: of one new task.
        one_of: of one new task, with who asks.
        several: of several.
        several_of: of several, with who asks.
        system: to a model that writes the user's turn.
        system_of: likewise, with who asks.
    """

    one: str
    one_of: str
    several: str
    several_of: str
    system: str
    system_of: str

    def sentence(self, form: Literal["one", "several", "system"], topic: Topic | None) -> str:
        """Return the sentence about a topic; nothing without one.

        Args:
            form: of the sentence.
            topic: the topic.
        """
        if topic is None:
            return ""
        template: str = getattr(self, f"{form}_of" if topic.user else form)
        return template.format(subject=topic.subject, user=topic.user)


class Wording(Struct, frozen=True, forbid_unknown_fields=True):
    """The words of one language.

    Attributes:
        new_task: opens the new task.
        plan: of `plan`.
        evolve: of `evolve`: the ways to change a task, by name.
        topic: of topics.
        single_step: of `single_step`.
    """

    new_task: Words
    plan: PlanWording
    evolve: dict[str, Change]
    topic: TopicWording
    single_step: SingleStepWording


@functools.cache
def load_wording(language: PromptLanguage) -> Wording:
    """Return the words of a language."""
    path = Path(__file__).parent / "wordings" / f"{language}.yaml"
    return msgspec.yaml.decode(path.read_bytes(), type=Wording)
