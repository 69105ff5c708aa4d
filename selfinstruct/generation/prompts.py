"""The prompts of each step. `parsing.py` reads the answers: each `encode_*` here has its `parse_*` there.

These steps send prompts to the model (paper, section 2.2):

    proposal        new instructions after a list of eight           encode_proposal        parse_proposal
    classification  is this a classification task?                   encode_classification  parse_classification
    instances       input, then output (input-first)                 encode_input_first     parse_input_first
                    label, then input (output-first)                 encode_output_first    parse_output_first
                    input alone, to be answered separately           encode_input_only      parse_input_only
    answer          the output of one instruction and input          encode_answer          parse_answer

Every encoder takes its few-shot examples as arguments, so a user's own seed file steers every step, and the frame: the
words of the prompt in one language (`frame.py`). It returns a string for a base model (`completion` style: the model
continues the text) or messages for a chat model (`chat` style: the same examples inside one user message). A parser
accepts the answers of both styles. Answers are the exception: `encode_answer` and `parse_answer` are for base models; a
chat model gets the bare question, and `strip_thinking` reads its answer.

Field markers and stop strings count only at the start of a line: the reference code's stop "16." cuts ordinary text.
Examples are always the first part of a prompt, so that the prefix cache can reuse them.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Sequence

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.parsing import one_line
from selfinstruct.records import Message, OpenTurn, Prompt, SeedTask, Style

PROMPTS_VERSION = 1
"""Part of a run's identity. Raise it when a run made before must not be continued with the prompts of today."""


class _Same(tuple[SeedTask, ...]):
    """Tasks that are equal to the same objects only: to compare what is in them takes longer than to write it out."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(tuple(map(id, self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and len(self) == len(other) and all(map(operator.is_, self, other))


@functools.lru_cache(maxsize=256)
def _shown(header: str, block: Callable[[SeedTask, Frame], str], examples: _Same, frame: Frame) -> str:
    """Return the beginning of a prompt: its header and its examples, which are the same in nearly all of a run."""
    return "\n\n".join([header, *(block(seed, frame) for seed in examples)])


# ---------------------------------------------------------------------------------------------- proposal


def encode_proposal(examples: Sequence[str], num_new: int, style: Style, frame: Frame, topic: str = "") -> Prompt:
    """Return the prompt that asks for `num_new` instructions after a numbered list of `examples`.

    Args:
        examples: the instructions of the list.
        num_new: new instructions asked for.
        style: the style of the prompt.
        frame: the words of the prompt.
        topic: a sentence that says what the new ones are about.
    """
    listed = "\n".join(frame.line(frame.task, one_line(text), k) for k, text in enumerate(examples, 1))
    shown = f"{frame.proposal_header}\n\n{listed}"
    first, last = (frame.opening(frame.task, len(examples) + k) for k in (1, num_new))
    if style == "completion":
        return f"{shown}\n\n{topic}\n\n{first}" if topic else f"{shown}\n{first}"
    ask = frame.sentence(frame.proposal_ask, num_new=num_new, first=first, last=last) + (f" {topic}" if topic else "")
    return [{"role": "user", "content": f"{shown}\n\n{ask}"}]


def encode_proposal_turns(examples: Sequence[str], frame: Frame, topic: str = "") -> Prompt:
    """Return the conversation in which a chat model has written the examples, one in each turn, and writes the next.

    Args:
        examples: the instructions.
        frame: the words of the prompt.
        topic: a sentence that says what the new one is about.
    """
    ask = frame.sentence(frame.proposal_turn_ask)
    turns: list[Message] = []
    for text in examples:
        turns += [{"role": "user", "content": ask}, {"role": "assistant", "content": one_line(text)}]
    return [*turns, {"role": "user", "content": f"{ask} {topic}".rstrip()}]


def encode_proposal_begun(examples: Sequence[str], frame: Frame, topic: str = "") -> Prompt:
    """Return the conversation in which a chat model has begun the list that it was asked for, and writes on in it.

    Args:
        examples: the instructions of the list so far.
        frame: the words of the prompt.
        topic: a sentence that says what the new ones are about.
    """
    listed = [frame.line(frame.task, one_line(text), k) for k, text in enumerate(examples, 1)]
    begun = "\n".join([*listed, frame.opening(frame.task, len(examples) + 1)])
    asked = f"{frame.sentence(frame.proposal_begun_ask)} {topic}".rstrip()
    return OpenTurn([{"role": "user", "content": asked}, {"role": "assistant", "content": begun}])


def proposal_stop(num_examples: int, num_new: int, frame: Frame) -> tuple[str, ...]:
    """Return the stop strings of a completion-style proposal: the first item too many, and a new section.

    Args:
        num_examples: tasks that the prompt shows.
        num_new: tasks that it asks for.
        frame: words of the prompts.
    """
    return (f"\n{frame.opening(frame.task, num_examples + num_new + 1)}", "\n\n\n")


# ---------------------------------------------------------------------------------------- classification

CLASSIFICATION_STOP = ("\n",)
"""Stop strings of a completion-style classification."""


def choices(style: Style, frame: Frame) -> tuple[str, str]:
    """Return the answers yes and no, for an engine that can limit its output to given choices."""
    space = frame.space if style == "completion" else ""
    return f"{space}{frame.yes[0]}", f"{space}{frame.no[0]}"


def classification_block(seed: SeedTask, frame: Frame) -> str:
    """Return a task with the answer whether it is a classification task."""
    answer = (frame.yes if seed.is_classification else frame.no)[0]
    return f"{frame.line(frame.task, one_line(seed.instruction))}\n{frame.line(frame.classification, answer)}"


def encode_classification(instruction: str, examples: Sequence[SeedTask], style: Style, frame: Frame) -> Prompt:
    """Return the prompt that asks whether `instruction` is a classification task.

    Args:
        instruction: the instruction to classify.
        examples: seeds to show with their answers.
        style: the style of the prompt.
        frame: the words of the prompt.
    """
    shown = _shown(frame.classification_header, classification_block, _Same(examples), frame)
    asked = f"{frame.line(frame.task, one_line(instruction))}\n{frame.opening(frame.classification)}"
    if style == "completion":
        return f"{shown}\n\n{asked}"
    return [{"role": "user", "content": f"{shown}\n\n{frame.sentence(frame.classification_ask)}\n\n{asked}"}]


# --------------------------------------------------------------------------------------------- instances


@functools.cache
def next_task(frame: Frame, *, labels_first: bool = False) -> re.Pattern[str]:
    """Return the pattern before which a completion-style answer ends: another task with the beginning of its examples.

    It has the form of the prompt, whatever the number of the example: models count on. A line that opens like a task is
    not enough: an output may hold one, after a blank line too.

    Args:
        frame: the words of the prompt.
        labels_first: whether its examples begin with their label.
    """
    example = re.escape(f"{frame.heading(frame.example, 1)}\n").replace("1", "[0-9]+")
    begins = re.escape(frame.opening(frame.label)) if labels_first else example
    return re.compile(rf"\n\n{re.escape(frame.opening(frame.task))}[^\n]*\n{begins}")


def input_first_block(seed: SeedTask, frame: Frame) -> str:
    """Return a task with its instances, the input before the output."""
    lines = [frame.line(frame.task, one_line(seed.instruction))]
    for k, instance in enumerate(seed.instances, 1):
        lines.append(frame.heading(frame.example, k))
        if instance.input:
            lines.append(frame.line(frame.input, instance.input))
        lines.append(frame.line(frame.output, instance.output))
    return "\n".join(lines)


def output_first_block(seed: SeedTask, frame: Frame) -> str:
    """Return a classification task with its instances, the label before the input."""
    pairs = [
        f"{frame.line(frame.label, i.output)}\n{frame.line(frame.input, i.input)}"
        if i.input
        else frame.line(frame.label, i.output)
        for i in seed.instances
    ]
    return f"{frame.line(frame.task, one_line(seed.instruction))}\n" + "\n\n".join(pairs)


def input_only_block(seed: SeedTask, frame: Frame) -> str:
    """Return a task with the inputs of its instances; without one it says so."""
    lines = [frame.line(frame.task, one_line(seed.instruction))]
    for k, task_input in enumerate(dict.fromkeys(instance.input for instance in seed.instances), 1):
        lines += [frame.heading(frame.example, k), frame.line(frame.input, task_input or frame.no_input[0])]
    return "\n".join(lines)


def _encode_instances(shown: str, instruction: str, ask: str, style: Style, frame: Frame) -> Prompt:
    asked = f"{frame.line(frame.task, one_line(instruction))}\n"
    if style == "completion":
        return f"{shown}\n\n{asked}"
    return [{"role": "user", "content": f"{shown}\n\n{frame.sentence(ask)}\n\n{asked}".rstrip()}]


def encode_input_first(instruction: str, examples: Sequence[SeedTask], style: Style, frame: Frame) -> Prompt:
    """Return the prompt that asks for instances of `instruction`, the input before the output.

    Args:
        instruction: the instruction to make instances of.
        examples: seeds to show with their instances.
        style: the style of the prompt.
        frame: the words of the prompt.
    """
    shown = _shown(frame.input_first_header, input_first_block, _Same(examples), frame)
    return _encode_instances(shown, instruction, frame.input_first_ask, style, frame)


def encode_output_first(instruction: str, examples: Sequence[SeedTask], style: Style, frame: Frame) -> Prompt:
    """Return the prompt that asks for instances of a classification task, the label before the input.

    With the input first, most instances get the same label (paper, section 2.2).

    Args:
        instruction: the instruction to make instances of.
        examples: seeds to show with their instances; all are classification tasks.
        style: the style of the prompt.
        frame: the words of the prompt.
    """
    shown = _shown(frame.output_first_header, output_first_block, _Same(examples), frame)
    return _encode_instances(shown, instruction, frame.output_first_ask, style, frame)


def encode_input_only(instruction: str, examples: Sequence[SeedTask], style: Style, frame: Frame) -> Prompt:
    """Return the prompt that asks for inputs of `instruction`, to be answered separately.

    Args:
        instruction: the instruction to make inputs of.
        examples: seeds to show with their inputs.
        style: the style of the prompt.
        frame: the words of the prompt.
    """
    shown = _shown(frame.input_only_header, input_only_block, _Same(examples), frame)
    return _encode_instances(shown, instruction, frame.input_only_ask, style, frame)


# ------------------------------------------------------------------------------------------------- answer


@functools.cache
def next_example(frame: Frame) -> re.Pattern[str]:
    """Return the pattern before which an answer after worked examples ends: the next example, or the next task.

    Both have the form of the prompt: a line "Example 2" is followed by an input or an output.
    """
    fields = "|".join(re.escape(frame.opening(words)) for words in (frame.input, frame.output))
    return re.compile(rf"\n{re.escape(frame.heading(frame.example, 2))}\n(?:{fields})|{next_task(frame).pattern}")


def encode_answer(instruction: str, task_input: str, examples: Sequence[SeedTask], frame: Frame) -> str:
    """Return the prompt of a base model for one output: worked examples, then the question, which ends in "Output:".

    Args:
        instruction: the instruction to answer.
        task_input: its input; may be empty.
        examples: seeds to show, in the form of the input-first prompt.
        frame: the words of the prompt.
    """
    asked = encode_input_first(instruction, examples, "completion", frame)
    input_line = f"{frame.line(frame.input, task_input)}\n" if task_input else ""
    return f"{asked}{frame.heading(frame.example, 1)}\n{input_line}{frame.opening(frame.output)}"
