"""What evaluation asks: questions out of task files, and the two ways to put them to a model.

    zero_shot   the bare instruction as a user message, which a tuned model has learnt to follow
    few_shot    a list of worked examples that ends where the answer begins: a base model's best form

A base model without a chat template gets its zero-shot question in the very text that the tuned model gets (see
`templates.py`), so that tuning is the only difference between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from selfinstruct import packaged, records
from selfinstruct.config.schema import Config
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import evaluation_tasks, jsonl
from selfinstruct.formats.super_natural_instructions import BenchmarkTask, tk_instruct_prompt
from selfinstruct.records import SEEN, UNSEEN, SeedTask, WrittenBy
from selfinstruct.run.folders import DatasetDirectory

Prompting = Literal["zero_shot", "few_shot"]

SEEN_SET, UNSEEN_SET = SEEN, UNSEEN
GENERATED_SETS = (UNSEEN_SET, SEEN_SET)
"""The sets that the generator wrote (other instances of tasks trained on; tasks held out as a whole). Training may have
stopped by them. They are shown, and never part of the verdict."""


@dataclass(frozen=True, slots=True)
class Question:
    """One instance of a task as it is asked: the instances of a task that share their input are one question.

    `id` is unique within `set`; `task` names what is resampled as a whole. `message`, where there is one, is the user's
    message as a benchmark has it; `stemmer` says that the benchmark scores by stems.
    """

    id: str
    task: str
    set: str
    category: str
    is_classification: bool
    instruction: str
    input: str
    references: tuple[str, ...]
    written_by: WrittenBy = "person"
    paraphrases: tuple[str, ...] = ()
    message: str = ""
    stemmer: bool = False

    @property
    def messages(self) -> list[records.Message]:
        """The question as a conversation."""
        return [{"role": "user", "content": self.message or records.user_message(self.instruction, self.input)}]

    def row(self) -> dict[str, Any]:
        """What is saved of it with an answer."""
        row = asdict(self)
        del row["paraphrases"], row["message"]  # The one is not asked here, the other stands in the prompt.
        return row


def load_questions(config: Config, dataset: DatasetDirectory) -> list[Question]:
    """All questions of a run: its held-out rows, then each name in `config.evaluate.tasks` as a set.

    Args:
        config: the run's configuration.
        dataset: the exported dataset; its `validation_*.jsonl` may be missing or empty.

    Raises:
        InputError: a file is missing or broken.
        ConfigError: two files have the same name.
    """
    questions = [question for name in GENERATED_SETS for question in from_rows(dataset.split(name))]
    names = set(GENERATED_SETS)
    for name in config.evaluate.tasks:
        path = packaged.resolve(name)
        if path.stem in names:
            raise ConfigError(f"`evaluate.tasks`: more than one set is called {path.stem!r}; rename {path}")
        names.add(path.stem)
        for task in evaluation_tasks.load_evaluation_tasks(name):
            if isinstance(task, BenchmarkTask):
                questions += from_benchmark(path.stem, task, config.evaluate.num_positive_examples)
            else:
                questions += from_tasks(path.stem, [task])
    if not questions:
        raise ConfigError("nothing to evaluate on: `evaluate.tasks` is empty and the run holds out no tasks")
    return questions


def from_tasks(set_name: str, tasks: Sequence[SeedTask]) -> list[Question]:
    """Each different input of each task as a question; its outputs are the references."""
    questions = []
    for task in tasks:
        outputs: dict[str, list[str]] = {}
        for instance in task.instances:
            outputs.setdefault(instance.input, []).append(instance.output)
        questions += [
            Question(
                id=f"{task.id}-{k}",
                task=task.id,
                set=set_name,
                category=task.category,
                is_classification=task.is_classification,
                instruction=task.instruction,
                input=given,
                references=tuple(references),
                written_by=task.written_by,
                paraphrases=task.paraphrases,
            )
            for k, (given, references) in enumerate(outputs.items())
        ]
    return questions


def from_benchmark(set_name: str, task: BenchmarkTask, num_examples: int) -> list[Question]:
    """The instances of a task of Super-NaturalInstructions, prompted and scored as the benchmark does."""
    return [
        Question(
            id=f"{task.id}-{k}",
            task=task.id,
            set=set_name,
            category=task.category,
            is_classification=task.is_exact_match,
            instruction=task.definition,
            input=instance.input,
            references=instance.outputs,
            message=tk_instruct_prompt(task, instance.input, num_examples),
            stemmer=True,
        )
        for k, instance in enumerate(task.instances)
    ]


def from_rows(path: Path) -> list[Question]:
    """The rows of an exported split as questions; rows of one instruction are one task. No file, no questions."""
    questions: list[Question] = []
    tasks: dict[str, str] = {}
    for number, row in jsonl.read(path) if path.exists() else ():
        texts = {name: row.get(name) for name in ("id", "instruction", "input", "output")}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise InputError(f"{path}, line {number}: `{name}` must be a string, got {repr(value)[:80]}")
        if not isinstance(row.get("is_classification"), bool):
            raise InputError(f"{path}, line {number}: `is_classification` must be true or false")
        questions.append(
            Question(
                id=row["id"],
                task=tasks.setdefault(row["instruction"], row["id"]),
                set=path.stem,
                category="",
                is_classification=row["is_classification"],
                instruction=row["instruction"],
                input=row["input"],
                references=(row["output"],),
                written_by="model",
            )
        )
    return questions


# ---------------------------------------------------------------------------------------------- few-shot
#
# A real completion (the prompt ended with "Output:"):
#
#      The meeting has been moved to Monday.
#     Example 2
#     Input: ...


BENCHMARK_STOP = ("\nInput:", "\nDefinition:", "\nNow complete", "\n Positive Example")
"""The same for the benchmark's own prompt, which brings its examples with it."""
