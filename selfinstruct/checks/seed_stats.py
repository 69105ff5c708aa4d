"""What a set of seed tasks is like: sizes, shares, lengths. `seeds stats` prints it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from selfinstruct.generation.filters.language import identify
from selfinstruct.generation.filters.script import script_of
from selfinstruct.records import SeedTask
from selfinstruct.text import percent

_LONG = 100
"""Words of a long output."""
_MOST_LISTED = 12


@dataclass(frozen=True, slots=True)
class SeedStats:
    """Figures of a set of tasks. Shares are in [0, 1], lengths in words.

    Attributes:
        tasks: number of tasks.
        instances: number of instances of all tasks.
        classification: share of classification tasks.
        without_input: share of tasks of which no instance has an input.
        instruction_words: mean length of an instruction.
        input_words: mean length of an input that is not empty.
        output_words: mean length of an output.
        long_outputs: share of outputs over 100 words.
        categories: number of tasks by category.
        scripts: number of tasks by the scripts of their letters.
        languages: number of tasks by the language of the instruction (ISO 639-1, or a script); "" where it is not sure.
        labels: number of instances by label, for each classification task.
    """

    tasks: int
    instances: int
    classification: float
    without_input: float
    instruction_words: float
    input_words: float
    output_words: float
    long_outputs: float
    categories: dict[str, int]
    scripts: dict[str, int]
    languages: dict[str, int]
    labels: dict[str, dict[str, int]]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the figures as lines for people."""
        categories = [f"{name or '(none)'} {n}" for name, n in list(self.categories.items())[:_MOST_LISTED]]
        if len(self.categories) > _MOST_LISTED:
            categories.append(f"and {len(self.categories) - _MOST_LISTED} more")
        return [
            f"tasks            {self.tasks}, with {self.instances} instances",
            f"classification   {percent(self.classification)} of the tasks",
            f"without input    {percent(self.without_input)} of the tasks",
            f"instruction      {self.instruction_words:.1f} words on average",
            f"input            {self.input_words:.1f} words on average where there is one",
            f"output           {self.output_words:.1f} words on average; over {_LONG}: {percent(self.long_outputs)}",
            f"categories       {', '.join(categories)}",
            f"scripts          {', '.join(f'{name.title()} {n}' for name, n in self.scripts.items())}",
            f"languages        {', '.join(f'{code or chr(63)} {n}' for code, n in self.languages.items())}",
        ]


def seed_stats(tasks: Sequence[SeedTask]) -> SeedStats:
    """Return the figures of a set of tasks; at least one."""
    instances = [instance for task in tasks for instance in task.instances]
    outputs = [len(instance.output.split()) for instance in instances]
    inputs = [len(instance.input.split()) for instance in instances if instance.input]
    scripts = Counter(name for task in tasks for name in _scripts(task))
    return SeedStats(
        tasks=len(tasks),
        instances=len(instances),
        classification=_share(task.is_classification for task in tasks),
        without_input=_share(not any(i.input for i in task.instances) for task in tasks),
        instruction_words=statistics.mean(len(task.instruction.split()) for task in tasks),
        input_words=statistics.mean(inputs) if inputs else 0.0,
        output_words=statistics.mean(outputs),
        long_outputs=_share(words > _LONG for words in outputs),
        categories=dict(Counter(task.category for task in tasks).most_common()),
        scripts=dict(scripts.most_common()),
        languages=dict(Counter(map(language_of, tasks)).most_common()),
        labels={task.id: dict(Counter(i.output for i in task.instances)) for task in tasks if task.is_classification},
    )


def language_of(task: SeedTask) -> str:
    """Return the language of an instruction (ISO 639-1), or its script if it is too short to be sure and not Latin."""
    scripts = Counter(script_of(character) for character in task.instruction if character.isalpha())
    script = max(scripts, key=lambda name: scripts[name], default="LATIN")
    return identify(task.instruction, "instruction")[0] or ("" if script == "LATIN" else script.title())


def _share(of: Any) -> float:
    values = list(of)
    return sum(values) / len(values) if values else 0.0


def _scripts(task: SeedTask) -> set[str]:
    texts = task.instruction + "".join(i.input + i.output for i in task.instances)
    return {script_of(character) for character in set(texts) if character.isalpha()}
