"""Super-NaturalInstructions (Wang et al. 2022, arXiv 2204.07705): one JSON file per task.

    {"Categories": ["Data to Text"],
     "Definition": ["Turn the list into a sentence."],
     "Positive Examples": [{"input": "tea, hot", "output": "The tea is hot.", "explanation": "..."}],
     "Negative Examples": [...],
     "Instances": [{"id": "task9-1", "input": "snow, cold", "output": ["The snow is cold.", "Snow is cold."]}]}

Older releases have plain strings in place of these lists; both are read.

The protocol of the benchmark: the first 100 instances of each task, the prompt of Tk-Instruct, ROUGE-L with a stemmer
and the best of several references, and exact match for categories with short fixed answers.

As training rows, the definition is the instruction and each instance a row; an instance's further outputs are the row's
references. Positive and negative examples are no rows.
"""

from __future__ import annotations

import json
import string
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, ValidationError

from selfinstruct.errors import InputError
from selfinstruct.formats import data_files, jsonl
from selfinstruct.formats.families.dataset_row import Dropped, Read, single_turn
from selfinstruct.formats.problems import readable, unfit

MOST_INSTANCES = 100
"""Largest number of instances used of each task, as in the benchmark."""

_EXACT_MATCH = frozenset(
    (
        "Textual Entailment",
        "Cause Effect Classification",
        "Coreference Resolution",
        "Dialogue Act Recognition",
        "Answerability Classification",
        "Word Analogy",
    )
)
"""Categories that the benchmark scores by exact match."""
_SHORT = 3
"""Longest label, in words."""
_FEW = 10
"""Most labels of a classification task."""


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example of a task."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class BenchmarkInstance:
    """An input with its accepted outputs."""

    id: str
    input: str
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """One task file. `id` is the file's name without its suffix; `instances` holds at most the first 100."""

    id: str
    category: str
    definition: str
    positive_examples: tuple[Example, ...]
    instances: tuple[BenchmarkInstance, ...]

    @property
    def is_exact_match(self) -> bool:
        """Return whether the benchmark scores the task's category by exact match."""
        return self.category in _EXACT_MATCH


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_text(value: Any) -> Any:
    """Return a number as the text that the benchmark's own code makes of it; some files have them as outputs."""
    return str(value) if isinstance(value, int | float) else value


_Text = Annotated[StrictStr, BeforeValidator(_as_text)]
_Texts = Annotated[list[_Text], BeforeValidator(_listed), Field(min_length=1)]


class _Example(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)
    input: _Text
    output: _Texts


class _Instance(_Example):
    id: _Text = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", defer_build=True)
    definition: _Texts = Field(alias="Definition")
    categories: Annotated[list[_Text], BeforeValidator(_listed)] = Field([], alias="Categories")
    positive_examples: list[_Example] = Field([], alias="Positive Examples")
    instances: list[_Instance] = Field(alias="Instances", min_length=1)


def is_json_file(path: Path) -> bool:
    """Return whether a file is JSON by its name; it may be compressed."""
    return path.name.endswith(tuple(f".json{packed}" for packed in ("", *data_files.COMPRESSED)))


def is_task_file(path: Path) -> bool:
    """Return whether a file has this format, judged by its content. It may be compressed."""
    if not is_json_file(path):
        return False
    try:
        value = _content(path)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "Definition" in value and "Instances" in value


def _content(path: Path) -> Any:
    with data_files.opened(path) as stream:
        return json.loads(stream.read(), parse_int=jsonl.integer)


def read_task_file(path: Path) -> BenchmarkTask:
    """Read one task file.

    Raises:
        InputError: the file cannot be read, is not JSON, or a field is missing or has another type. The message names
            all such fields.
    """
    try:
        value = _content(path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    try:
        return parse_task(value, path.name.partition(".json")[0])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def parse_task(value: Any, name: str, most_instances: int | None = MOST_INSTANCES) -> BenchmarkTask:
    """Return the task that a JSON value represents.

    Args:
        value: the content of a task file.
        name: of the task.
        most_instances: the number of instances to keep at most; None: all.

    Raises:
        ValueError: a field is missing or has another type. The message names all such fields.
    """
    try:
        file = _File.model_validate(value)
    except ValidationError as error:
        problems = [f"  `{'.'.join(map(str, e['loc']))}`: {readable(e)}" for e in error.errors()]
        raise ValueError("not a Super-NaturalInstructions task:\n" + "\n".join(problems[:20])) from error
    task = BenchmarkTask(
        id=name,
        category=file.categories[0] if file.categories else "",
        definition="\n".join(file.definition).strip(),
        positive_examples=tuple(Example(e.input.strip(), e.output[0].strip()) for e in file.positive_examples),
        instances=tuple(
            BenchmarkInstance(i.id or str(k), i.input.strip(), tuple(text.strip() for text in i.output))
            for k, i in enumerate(file.instances[:most_instances])
        ),
    )
    _check(task)
    return task


def _check(task: BenchmarkTask) -> None:
    texts = {"Definition": task.definition, "Categories": task.category}
    texts |= {f"Positive Examples.{k}": e.input + e.output for k, e in enumerate(task.positive_examples)}
    texts |= {f"Instances.{k}": i.id + i.input + "".join(i.outputs) for k, i in enumerate(task.instances)}
    problems = [f"  `{name}`: {problem}" for name, text in texts.items() for problem in unfit(text)]
    problems += [] if task.definition else ["  `Definition`: is empty"]
    if problems:
        raise ValueError("cannot be used:\n" + "\n".join(problems[:20]))


def recognises(record: dict[str, Any]) -> bool:
    """Return whether a record is a task file."""
    return {"Definition", "Instances"} <= record.keys()


def read(record: dict[str, Any], name: str = "") -> Read:
    """Yield a row for each instance of a task.

    Args:
        record: the whole file.
        name: the file's name without its suffix.

    Raises:
        ValueError: a field is missing or has another type.
    """
    try:
        task = parse_task(record, name, most_instances=None)
    except ValueError as error:
        raise ValueError(str(error).replace(":\n  ", ": ").replace("\n  ", "; ")) from error
    labels = {output for instance in task.instances for output in instance.outputs}
    few = len(labels) <= _FEW and all(len(label.split()) <= _SHORT for label in labels)
    for instance in task.instances:
        if not instance.outputs:
            yield Dropped("empty output")
            continue
        yield single_turn(
            task.definition,
            instance.input,
            instance.outputs[0],
            id=instance.id,
            references=instance.outputs[1:],
            task=task.id,
            category=task.category,
            is_classification=few and len(task.instances) > len(labels),
        )


def tk_instruct_prompt(task: BenchmarkTask, input_text: str, num_examples: int) -> str:
    """Return exactly Tk-Instruct's prompt: the definition, positive examples, then the instance.

    Args:
        task: the task.
        input_text: the instance's input.
        num_examples: largest number of positive examples; Tk-Instruct shows 2, zero-shot evaluation 0.
    """
    parts = [f"Definition: {_closed(task.definition)}\n\n"]
    for number, example in enumerate(task.positive_examples[:num_examples], 1):
        parts.append(f" Positive Example {number} -\nInput: {_closed(example.input)}\n")
        parts.append(f" Output: {_closed(example.output)}\n\n")
    return "".join(parts) + f"Now complete the following example -\nInput: {_closed(input_text)}\nOutput: "


def _closed(text: str) -> str:
    """Return the text with a full stop at its end, unless it ends in punctuation."""
    stripped = text.strip()
    return stripped if stripped.endswith(tuple(string.punctuation)) else f"{stripped}."
