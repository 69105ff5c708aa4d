"""The prompts of each step, as pairs of `encode_*` and `parse_*`.

These steps send prompts to the model (paper, section 2.2):

    proposal        new instructions after a list of eight           encode_proposal        parse_proposal
    classification  is this a classification task?                   encode_classification  parse_classification
    instances       input, then output (input-first)                 encode_input_first     parse_input_first
                    label, then input (output-first)                 encode_output_first    parse_output_first
    answer          the output of one instruction and input          encode_answer          parse_answer

Every encoder takes its few-shot examples as arguments, so a user's own seed file steers every step. It returns a
string for a base model (`completion` style: the model continues the text) or messages for a chat model (`chat`
style: the same examples inside one user message). A parser accepts the answers of both styles. Answers are the
exception: `encode_answer` and `parse_answer` are for base models; a chat model gets the bare question, and
`strip_thinking` reads its answer.

Field markers and stop strings count only at the start of a line: the reference code's stop "16." cuts ordinary text.
Examples are always the first part of a prompt, so that the prefix cache can reuse them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest

from selfinstruct.records import Instance, Prompt, SeedTask, Style

PROMPTS_VERSION = 1
"""Part of a run's identity. Raise it whenever a prompt's text or a parser's result changes."""

_THINK = "think|thinking|reasoning"
_THINKING = re.compile(rf"<({_THINK})>.*?(?:</\1>|\Z)", re.S | re.I)
# A chat template may open the thinking block inside the prompt; then the answer holds only the end of the block.
_THINKING_TO_ITS_END = re.compile(rf"\A.*?</(?:{_THINK})>", re.S | re.I)
_LEADING_THINKING = re.compile(rf"{_THINKING_TO_ITS_END.pattern}|\A\s*<(?:{_THINK})>.*\Z", re.S | re.I)
_FENCED = re.compile(r"\A(.*?)^[ \t]*+```[\w-]*[ \t]*\n(.*)^[ \t]*+```[ \t]*$(.*)\Z", re.S | re.M)
_NO_INPUT = re.compile(
    r"no input(?: is)?(?: needed| required| necessary| provided)?"
    r"|none(?: needed| required)?|noinput|n/a|not applicable",
    re.I,
)
_EMPTY = re.compile(r"[<(\[]empty[>)\]]|[-–—]+", re.I)


def can_be_shown(seed: SeedTask) -> bool:
    """Return whether the seed's instances survive a round trip through the instance prompts.

    They do not when one of their lines opens like a field (`Input:`, `Example 2`). Such a line would mislead a model.
    """
    return instances_of(seed) == list(seed.instances)


def one_line(text: str) -> str:
    """Collapse all whitespace to single spaces, because a prompt lists one instruction per line."""
    return " ".join(text.split())


def strip_chat(text: str) -> str:
    """Remove what chat models put around an answer: thinking blocks (closed or not) and a code fence.

    >>> strip_chat("<think>Eight tasks...</think>\\nHere they are:\\n```\\n9. Name a river.\\n```\\nEnjoy!")
    '9. Name a river.'
    """
    text = _THINKING.sub("", text)
    text = _THINKING_TO_ITS_END.sub("", text)
    fenced = _FENCED.match(text)
    if fenced is not None:
        before, inside, after = fenced.groups()
        # A fence after a marker is part of an item or a field, for example its code.
        if not any(mark.search(outside) for mark in (_ITEM, _FIELD) for outside in (before, after)):
            text = inside
    return text.strip()


def fit(
    encode: Callable[[int], Prompt], most: int, limit: int, count: Callable[[Prompt], int]
) -> tuple[Prompt, int] | None:
    """Return the prompt with the most examples that fit.

    Args:
        encode: makes the prompt with the first k of its examples.
        most: the largest k to try; 0 or more.
        limit: the number of tokens that the prompt may have.
        count: counts the tokens of a prompt.

    Returns:
        The prompt and its number of examples, or None when even the prompt without examples is too long.
    """
    low, high, best = 0, most, None
    k = most  # Nearly always all examples fit, so try that first; then search by halves.
    while low <= high:
        prompt = encode(k)
        if count(prompt) <= limit:
            best, low = (prompt, k), k + 1
        else:
            high = k - 1
        k = (low + high + 1) // 2
    return best


# ---------------------------------------------------------------------------------------------- proposal
#
# A real completion (the prompt ended with "Task 9:"):
#
#      Find the odd word out in the list.
#     Task 10: Turn the following sentence into a question.
#     Task 11: Give three reasons to learn a second lan


@dataclass(frozen=True, slots=True)
class ProposedText:
    """One candidate instruction as parsed; `truncated` says that the completion was cut inside it."""

    text: str
    truncated: bool = False


_PROPOSAL_HEADER = "Here is a list of varied tasks, each of a different kind."
_ITEM = re.compile(
    r"^[ \t]*+(?:[-*•>#]+[ \t]++)?(?P<bold>\*\*[ \t]*+)?(?P<task>(?i:task)[ \t]*+)?#?(?P<number>\d{1,3})"
    r"(?(bold)(?:\*\*)?)[ \t]*+(?:[.:)](?!\d)|(?(task)(?:[-–—]|$)|(?!)))(?(bold)(?:\*\*)?)[ \t]*+",
    re.M,
)
_BOLD = re.compile(r"(?<!\w)\*\*(?=\S)(.+?)(?<=\S)\*\*(?!\w)")
_LABELLED = re.compile(r"\A(?:\*\*)?(?:Task|Instruction|Prompt)(?:\*\*)?[ \t]*:[ \t]*(?:\*\*)?[ \t]*", re.I)


def encode_proposal(examples: Sequence[str], num_new: int, style: Style) -> Prompt:
    """Return the prompt that asks for `num_new` instructions after a numbered list of `examples`."""
    listed = "\n".join(f"Task {k}: {one_line(text)}" for k, text in enumerate(examples, 1))
    first, last = len(examples) + 1, len(examples) + num_new
    if style == "completion":
        return f"{_PROPOSAL_HEADER}\n\n{listed}\nTask {first}:"
    return [
        {
            "role": "user",
            "content": f"{_PROPOSAL_HEADER}\n\n{listed}\n\nContinue the list with {num_new} new tasks. Each asks for "
            "something else than those above and than each other, differs in subject, form and length, and can be done "
            "by reading and writing alone. Where a task works on given material, describe the task without the "
            f"material itself. Write one task per line, from 'Task {first}:' to 'Task {last}:', and nothing else.",
        }
    ]


def proposal_stop(num_examples: int, num_new: int) -> tuple[str, ...]:
    """Return the stop strings of a completion-style proposal: the first item too many, and a new section."""
    return (f"\nTask {num_examples + num_new + 1}:", "\n\n\n")


def parse_proposal(text: str, *, truncated: bool, num_examples: int, num_new: int, style: Style) -> list[ProposedText]:
    """Split a completion into candidate instructions, in order.

    Args:
        text: the completion.
        truncated: whether it ended by length, so that its last item is cut.
        num_examples: instructions in the prompt; a completion-style answer begins with item `num_examples + 1`.
        num_new: items that the prompt asked for; a chat model's surplus items are kept as candidates like the others.
        style: the style of the prompt.

    Returns:
        The candidates; an empty list when the answer holds none. Items without text are left out.
    """
    if style == "completion":
        text = f"Task {num_examples + 1}: {text.lstrip()}"
    else:
        text = strip_chat(text)
    marks = _items(text)
    proposed = []
    for mark, following in zip_longest(marks, marks[1:]):
        end = following.start() if following else len(text)
        # A blank line ends an item: a remark or another section of the list comes after it.
        body, *rest = re.split(r"\n[ \t]*\n", text[mark.end() : end].strip(), maxsplit=1)
        body = one_line(_LABELLED.sub("", body))
        if style == "chat":
            body = _unwrap(f"**{body}" if mark["bold"] and mark.group().count("**") == 1 else body)
        if body:
            proposed.append(ProposedText(body, truncated and following is None and not rest))
    return proposed


def _items(text: str) -> list[re.Match[str]]:
    """Return the marks that open an item.

    In an answer that says "Task 9", a bare number at the start of a line opens an item only if it is greater than the
    number before it. Otherwise it belongs to a numbered list inside the item.
    """
    marks = list(_ITEM.finditer(text))
    says_task = any(mark["task"] for mark in marks)
    opening, last = [], 0
    for mark in marks:
        number = int(mark["number"])
        if mark["task"] or not says_task or number > last:
            opening.append(mark)
            last = number
    return opening


def _unwrap(text: str) -> str:
    """Strip the bold marks inside a line of a list, and the quotes, backticks or asterisks around it."""
    text = _BOLD.sub(r"\1", text).removeprefix("**").strip()
    for mark in ("*", '"', "`"):
        inside = text[1:-1]
        if len(text) > 2 and text.startswith(mark) and text.endswith(mark) and mark not in inside:
            text = inside.strip()
    return text


# ---------------------------------------------------------------------------------------- classification
#
# A real completion (the prompt ended with "Classification:"):
#
#      Yes

_CLASSIFICATION_HEADER = (
    "A classification task has a small, fixed set of possible answers. "
    "Say for each task whether it is a classification task."
)
CLASSIFICATION_STOP = ("\n",)
"""Stop strings of a completion-style classification."""

_ANSWER = re.compile(
    r"[\s\"'*`:.(\[-]*+(?:(?:classification|answer)\W*+)?(yes|no)\b(?!\s*(?:/|or\b)\s*(?:yes|no)\b)", re.I
)
CHOICES: dict[Style, tuple[str, str]] = {"completion": (" Yes", " No"), "chat": ("Yes", "No")}
"""The answers yes and no by style, for an engine that can limit its output to given choices."""


def encode_classification(instruction: str, examples: Sequence[SeedTask], style: Style) -> Prompt:
    """Return the prompt that asks whether `instruction` is a classification task.

    Args:
        instruction: the instruction to classify.
        examples: seeds to show with their answers.
        style: the style of the prompt.
    """
    shown = "\n\n".join(
        f"Task: {one_line(s.instruction)}\nClassification: {'Yes' if s.is_classification else 'No'}" for s in examples
    )
    shown = f"{_CLASSIFICATION_HEADER}\n\n{shown}".rstrip()
    asked = f"Task: {one_line(instruction)}\nClassification:"
    if style == "completion":
        return f"{shown}\n\n{asked}"
    return [{"role": "user", "content": f"{shown}\n\nNow answer for this one with Yes or No only.\n\n{asked}"}]


def parse_classification(text: str) -> bool | None:
    """Return True for yes, False for no, None for anything else (which the reference code took for "no")."""
    answer = _ANSWER.match(strip_chat(text))
    return None if answer is None else answer.group(1).lower() == "yes"


# --------------------------------------------------------------------------------------------- instances
#
# A real input-first completion (the prompt ended with the task):        and an output-first one:
#
#     Example 1                                                              Label: positive
#     Input: The tram was late again.                                        Input: What a lovely evening!
#     Output: Was the tram late again?
#     Example 2                                                              Label: negative
#     Input: She has read it.                                                Input: I want my money back.
#     Output: Has she read it?


@dataclass(frozen=True, slots=True)
class ParsedInstance:
    """One instance as parsed; `truncated` says that the completion was cut inside it."""

    input: str
    output: str
    truncated: bool = False


_INPUT_FIRST_HEADER = "Worked examples of varied tasks. A task that needs no input has outputs only."
_OUTPUT_FIRST_HEADER = "Worked examples of classification tasks: first a label, then an input that has this label."
INSTANCE_STOP = ("\nTask:",)
"""Stop strings of completion-style instance prompts: the next task. Blank lines do not stop: they belong to code."""


def _input_first_block(seed: SeedTask) -> str:
    lines = [f"Task: {one_line(seed.instruction)}"]
    for k, instance in enumerate(seed.instances, 1):
        lines.append(f"Example {k}")
        if instance.input:
            lines.append(f"Input: {instance.input}")
        lines.append(f"Output: {instance.output}")
    return "\n".join(lines)


def _output_first_block(seed: SeedTask) -> str:
    pairs = "\n\n".join(
        f"Label: {i.output}\nInput: {i.input}" if i.input else f"Label: {i.output}" for i in seed.instances
    )
    return f"Task: {one_line(seed.instruction)}\n{pairs}"


def _encode_instances(header: str, blocks: Sequence[str], instruction: str, ask: str, style: Style) -> Prompt:
    shown = "\n\n".join([header, *blocks])
    asked = f"Task: {one_line(instruction)}\n"
    if style == "completion":
        return f"{shown}\n\n{asked}"
    return [{"role": "user", "content": f"{shown}\n\n{ask}\n\n{asked}".rstrip()}]


def encode_input_first(instruction: str, examples: Sequence[SeedTask], style: Style) -> Prompt:
    """Return the prompt that asks for instances of `instruction`, the input before the output.

    Args:
        instruction: the instruction to make instances of.
        examples: seeds to show with their instances.
        style: the style of the prompt.
    """
    ask = (
        "Now write one to three examples for the task below in the same form (Example 1, Input:, Output:), with "
        "varied, complete inputs and correct outputs. Leave out 'Input:' when the task needs none. "
        "Write the examples and nothing else."
    )
    return _encode_instances(_INPUT_FIRST_HEADER, [_input_first_block(s) for s in examples], instruction, ask, style)


def encode_output_first(instruction: str, examples: Sequence[SeedTask], style: Style) -> Prompt:
    """Return the prompt that asks for instances of a classification task, the label before the input.

    With the input first, most instances get the same label (paper, section 2.2).

    Args:
        instruction: the instruction to make instances of.
        examples: seeds to show with their instances; all are classification tasks.
        style: the style of the prompt.
    """
    ask = (
        "Now write one example for each possible label of the task below in the same form (Label:, then Input:). "
        "Write the examples and nothing else."
    )
    return _encode_instances(_OUTPUT_FIRST_HEADER, [_output_first_block(s) for s in examples], instruction, ask, style)


_FIELD = re.compile(
    r"^[ \t]*+(?P<bullet>[-*•][ \t]++)?(?P<heading>#+[ \t]*+)?(?P<bold>\*\*)?"
    r"(?P<name>Example[ \t]+\d+(?:[ \t]*\([^)\n]*\))?|Input|Output|(?:Class[ \t]+)?[Ll]abel|Task(?:[ \t]+\d+)?)"
    r"(?(bold)(?:\*\*)?)[ \t]*+(?P<colon>:)?(?(colon)|(?=\n|\Z))(?(bold)(?:\*\*)?)[ \t]*+",
    re.M,
)
_RULE = re.compile(r"\n[ \t]*(?:-{3,}|\*{3,}|_{3,})\Z")


def _fields(text: str) -> list[tuple[str, str]]:
    """Return the marked fields of an answer in order, as (example | task | input | output | label, stripped text)."""
    marks = [
        m for m in _FIELD.finditer(text) if m["colon"] or m["heading"] or m["bold"] or m["name"].startswith("Example")
    ]
    # Either all fields are items of a bulleted list, or bullets are part of the fields' text.
    bulleted = next((bool(m["bullet"]) for m in marks if m["name"] in ("Input", "Output", "Label")), False)
    marks = [m for m in marks if bool(m["bullet"]) == (bulleted and not m["name"].startswith(("Example", "Task")))]
    names = ["label" if m["name"].lower().endswith("label") else m["name"].split()[0].lower() for m in marks]
    fields = []
    for k, (mark, name) in enumerate(zip(marks, names, strict=True)):
        following = marks[k + 1] if k + 1 < len(marks) else None
        body = text[mark.end() : following.start() if following else len(text)].strip()
        if mark["bold"] and mark.group().count("**") == 1:
            body = re.sub(r"\*\*[ \t]*$", "", body, count=1, flags=re.M)
        if following is not None and names[k + 1] in ("example", "task", "label"):
            body = _RULE.sub("", body).rstrip()
        fields.append((name, body))
    return fields


def _answer(text: str, truncated: bool) -> tuple[list[tuple[str, str]], bool]:
    """Return the fields before the next task, and whether the last of them is cut."""
    fields = _fields(strip_chat(text))
    own = list(takewhile(lambda field: field[0] != "task", fields))
    return own, truncated and len(own) == len(fields) and own[-1:] != [("example", "")]


def parse_input_first(text: str, *, truncated: bool) -> list[ParsedInstance]:
    """Return the instances of an input-first completion, in order.

    Text before the first marker is not an instance. An input without an output gets an empty output, which the filter
    rejects.
    """
    fields, cut = _answer(text, truncated)
    parsed: list[ParsedInstance] = []
    pending: str | None = None
    for name, body in fields:
        if name in ("input", "example") and pending is not None:
            parsed.append(ParsedInstance(pending, ""))
            pending = None
        if name == "input":
            pending = body
        elif name != "example":
            parsed.append(ParsedInstance(_no_input(pending or ""), body))
            pending = None
    if pending is not None:
        parsed.append(ParsedInstance(pending, ""))
    return _cut_last(parsed, cut)


def parse_output_first(text: str, *, truncated: bool) -> list[ParsedInstance]:
    """Return the instances of an output-first completion, in order.

    A label without an input makes an instance with an empty input. Several inputs under one label share the label. An
    answer that puts its inputs first is parsed as input-first.
    """
    fields, cut = _answer(text, truncated)
    if next((name for name, _ in fields if name != "example"), "") == "input":
        return parse_input_first(text, truncated=truncated)
    parsed: list[ParsedInstance] = []
    label: str | None = None
    used = True
    for name, body in fields:
        if name == "input":
            if label is not None:
                parsed.append(ParsedInstance(_no_input(body), label))
                used = True
            continue
        if not used:
            parsed.append(ParsedInstance("", label or ""))
        label, used = (None, True) if name == "example" else (body, False)
    if not used:
        parsed.append(ParsedInstance("", label or ""))
    return _cut_last(parsed, cut)


def _cut_last(parsed: list[ParsedInstance], cut: bool) -> list[ParsedInstance]:
    return [*parsed[:-1], replace(parsed[-1], truncated=True)] if parsed and cut else parsed


def _no_input(text: str) -> str:
    """Return an empty string for an input that only says that there is none."""
    return "" if _NO_INPUT.fullmatch(text.strip(" \t\n<>()[]*_.")) or _EMPTY.fullmatch(text) else text


def instances_of(seed: SeedTask) -> list[Instance]:
    """Return the instances that the parsers read in the seed's own block; see `can_be_shown`."""
    block = _output_first_block(seed) if seed.is_classification else _input_first_block(seed)
    parse = parse_output_first if seed.is_classification else parse_input_first
    return [Instance(p.input, p.output) for p in parse(block.partition("\n")[2], truncated=False)]


# ------------------------------------------------------------------------------------------------- answer

ANSWER_STOP = ("\nExample 2", "\nTask:")
"""Stop strings of an answer after worked examples: the next example, and the next task."""

_NEXT_FIELD = re.compile(r"\n[ \t]*(?:Example[ \t]+\d+[ \t]*:?[ \t]*(?:\n|\Z)|(?:Task|Input|Output)[ \t]*:)")


def encode_answer(instruction: str, task_input: str, examples: Sequence[SeedTask]) -> str:
    """Return the prompt of a base model for one output: worked examples, then the question, which ends in "Output:".

    Args:
        instruction: the instruction to answer.
        task_input: its input; may be empty.
        examples: seeds to show, in the form of the input-first prompt.
    """
    asked = encode_input_first(instruction, examples, "completion")
    return f"{asked}Example 1\nInput: {task_input}\nOutput:" if task_input else f"{asked}Example 1\nOutput:"


def parse_answer(text: str) -> str:
    """Return the answer in a completion: the text before the next field.

    >>> parse_answer(" Was the tram late?\\nExample 2\\nInput: She has")
    'Was the tram late?'
    """
    following = _NEXT_FIELD.search(text)
    return (text[: following.start()] if following else text).strip()


def strip_thinking(text: str) -> str:
    """Remove the thinking block that a model may write before its answer; all other text belongs to the answer.

    The block may lack its beginning (when the chat template opens it inside the prompt) or its end (when it was cut).

    >>> strip_thinking("<think>Capitals...</think>\\nParis."), strip_thinking("<think>Capitals, hm")
    ('Paris.', '')
    """
    return _LEADING_THINKING.sub("", text, count=1).strip()


def few_shot_examples(seeds: Sequence[SeedTask], most: int, seed: int) -> list[SeedTask]:
    """Return the seeds to show, the same for every question so that the prefix cache can reuse them.

    They are drawn from the shorter half of the seeds, so that many fit.

    Args:
        seeds: the seeds to draw from; those that cannot be shown (see `can_be_shown`) are left out.
        most: the number of seeds to draw; fewer when there are fewer.
        seed: the seed of the draw.
    """
    showable = [task for task in seeds if can_be_shown(task)]
    by_size = sorted(showable, key=lambda task: sum(len(i.input) + len(i.output) for i in task.instances))
    half = by_size[: max(most, len(by_size) // 2)]
    return random.Random(f"{seed}/evaluation").sample(half, min(most, len(half)))
