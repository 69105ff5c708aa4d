"""The questions of an evaluation, read from task files, and the two ways to ask a model.

    zero_shot   the bare instruction as a user message, which a tuned model is trained to follow
    few_shot    a list of worked examples that ends where the answer begins: a base model's best form

A base model without a chat template gets its zero-shot question in exactly the text that the tuned model gets (see
`tuning/training/prompt_formats.py`), so that tuning is the only difference between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from selfinstruct import packaged, records
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.console import console
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import evaluation_tasks, exported_rows
from selfinstruct.formats.families.super_natural_instructions import BenchmarkTask, tk_instruct_prompt
from selfinstruct.formats.seed_tasks import dataset_remarks, left_out_texts
from selfinstruct.records import SEEN, UNSEEN, SeedTask, WrittenBy
from selfinstruct.run.folders import DatasetDirectory

T = TypeVar("T")
Prompting = Literal["zero_shot", "few_shot"]

GENERATED_SETS = (UNSEEN, SEEN)
"""The sets that the generator wrote. Training may have stopped by their loss, so they are no part of the verdict."""

BENCHMARK_STOP = ("\nInput:", "\nDefinition:", "\nNow complete", "\n Positive Example")
"""Stop strings for a benchmark's own prompt, which brings its examples with it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One instance of a task as it is asked: the instances of a task that share their input are one question.

    Attributes:
        id: unique within `set`.
        task: what is resampled as a whole.
        set: the set of tasks.
        category: of the task; empty where it has none.
        is_classification: whether exact match applies.
        instruction: the task.
        input: its input; may be empty.
        references: the accepted answers.
        written_by: author of the task.
        paraphrases: the instruction in other words.
        message: the user's message as a benchmark has it; empty: made from instruction and input.
        stemmer: whether the benchmark compares words by their stems.
    """

    id: str
    task: str
    set: str
    category: str
    is_classification: bool
    instruction: str
    input: str
    references: tuple[str, ...]
    written_by: WrittenBy = "unknown"
    paraphrases: tuple[str, ...] = ()
    message: str = ""
    stemmer: bool = False

    @property
    def messages(self) -> list[records.Message]:
        """Return the question as a conversation."""
        return [{"role": "user", "content": self.message or records.user_message(self.instruction, self.input)}]

    def fields(self) -> dict[str, Any]:
        """Return the fields that an answer repeats."""
        fields = asdict(self)
        del fields["paraphrases"], fields["message"]  # Neither belongs to the answer; the message is in its prompt.
        return fields


def load_questions(options: Evaluate, dataset: DatasetDirectory) -> list[Question]:
    """Return all questions of a run: its held-out rows, then each name in `options.tasks` as a set.

    Args:
        options: the section `evaluate`.
        dataset: the exported dataset; its `validation_*.jsonl` may be missing or empty.

    Raises:
        InputError: a file is missing or broken.
        ConfigError: two files have the same name.
    """
    questions = [question for name in GENERATED_SETS for question in from_rows(dataset.split(name))]
    questions += task_questions(options)
    if not questions:
        raise ConfigError("nothing to evaluate on: `evaluate.tasks` is empty and the run holds out no tasks")
    return questions


def task_questions(options: Evaluate) -> list[Question]:
    """Return the questions of the task files, each name in `options.tasks` as a set.

    Raises:
        InputError: a file is missing or broken.
        ConfigError: two files have the same name.
    """
    questions: list[Question] = []
    names = set(GENERATED_SETS)
    for name in options.tasks:
        called = packaged.set_name(name)
        if called in names:
            raise ConfigError(f"`evaluate.tasks`: more than one set is called {called!r}; rename {name}")
        names.add(called)
        no_tasks: Counter[str] = Counter()
        skip = _left_out if options.skip_broken else None
        tasks = list(evaluation_tasks.load_evaluation_tasks(name, skip, no_tasks))
        if not any(isinstance(task, BenchmarkTask) for task in tasks):
            for remark in dataset_remarks([name], own=("self-instruct",)):
                console.print(remark, markup=False)
        if no_tasks:
            console.print(f"{name}: left out: {', '.join(left_out_texts(no_tasks))}", markup=False)
        for task in spread(tasks, options.limit):
            if isinstance(task, BenchmarkTask):
                questions += from_benchmark(called, task, options.num_positive_examples)
            else:
                questions += from_tasks(called, [task])
    return questions


def spread(tasks: list[T], limit: int | None) -> list[T]:
    """Return at most `limit` of the tasks, spread evenly over the list: files are sorted by kind. None: all of them."""
    if limit is None or limit >= len(tasks):
        return tasks
    return [tasks[k * len(tasks) // limit] for k in range(limit)]


def _left_out(error: InputError) -> None:
    console.print(f"left out: {error}", markup=False)


def from_tasks(set_name: str, tasks: Sequence[SeedTask]) -> list[Question]:
    """Return a question for each different input of each task; the outputs to that input are its references."""
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
                input=text,
                references=tuple(references),
                written_by=task.written_by,
                paraphrases=task.paraphrases,
            )
            for k, (text, references) in enumerate(outputs.items())
        ]
    return questions


def from_benchmark(set_name: str, task: BenchmarkTask, num_examples: int) -> list[Question]:
    """Return the instances of a task of Super-NaturalInstructions, prompted and scored as the benchmark does.

    Args:
        set_name: the set of the questions.
        task: the task.
        num_examples: most positive examples in the prompt.
    """
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
            written_by="person",
            message=tk_instruct_prompt(task, instance.input, num_examples),
            stemmer=True,
        )
        for k, instance in enumerate(task.instances)
    ]


def from_rows(path: Path) -> list[Question]:
    """Return the rows of an exported split as questions; none without the file. Rows of one instruction are one task.

    Raises:
        InputError: a row is broken; names its line.
    """
    questions: list[Question] = []
    tasks: dict[str, str] = {}
    for row in exported_rows.read(path) if path.exists() else ():
        questions.append(
            Question(
                id=row.id,
                task=tasks.setdefault(row.instruction, row.id),
                set=path.stem,
                category="",
                is_classification=row.is_classification,
                instruction=row.instruction,
                input=row.input,
                references=(row.output,),
                written_by="model",
            )
        )
    return questions
