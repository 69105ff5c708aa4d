"""The proposer `single_step`: instruction, input and output in one completion, as in Stanford Alpaca.

A few seeds are shown with an instance each, and the model continues the list. Every task brings its instance along, so
that no further request is made about it:

    Task 1: Turn the sentence into a question.
    Input: The tram was late again.
    Output: Was the tram late again?

    Task 2: Name a river in Africa.
    Input: no input
    Output: The Niger.

    Task 3:

A chat model writes on in such a list that begins its own turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from selfinstruct.config.proposing import SingleStep
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.instance_parts import text_of
from selfinstruct.generation.markers import Line, Mark, mark_reader, scan, split_lines
from selfinstruct.generation.parsing import TRUNCATED, ambiguous, one_line
from selfinstruct.generation.placeholders import absent_input
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers import seed_draws
from selfinstruct.generation.proposers.interface import Example, Question, Seen
from selfinstruct.generation.proposers.wording import Wording
from selfinstruct.records import Completion, Instance, OpenTurn, Prompt, Style
from selfinstruct.run.lines import ProposalLine, WrittenInstance


@dataclass(frozen=True, slots=True)
class WholeTasks:
    """Continues a list of tasks with their instances.

    Attributes:
        options: the sampling, and how many tasks are shown and asked for.
        style: how the model is prompted.
        frame: the words of the prompt.
        wording: what the prompt asks.
    """

    options: SingleStep
    style: Style
    frame: Frame
    wording: Wording

    def ask(self, seen: Seen) -> Question:
        """Return the question with seeds in random order, each with one of its instances."""
        examples: list[Example] = []
        for seed in seed_draws.all_of(seen.seeds, self.options.num_examples, seen.draw):
            instance = seen.draw.choice(seed.instances)
            block = self._block(seed.instruction, instance)
            itself = WrittenInstance(instance.input.strip(), instance.output.strip())
            read = read_tasks(f"{self.frame.heading(self.frame.task, 1)}{block}", self.frame)
            # A line of another one would open a task or a field.
            if [(task.fault, task.instance) for task in read] == [(None, itself)]:
                examples.append(Example(seed.id, block))
            if len(examples) == self.options.num_examples:
                break
        topic = self.wording.topic.sentence("several", seen.topic)
        return Question(tuple(examples), partial(self._encode, topic=topic), self._stop)

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the tasks of the list; the last of a list that was cut has a fault."""
        first = self.frame.opening(self.frame.task, len(asked.examples) + 1)
        proposed = read_tasks(f"{first} {answer.text.lstrip()}", self.frame)
        if proposed and answer.finish_reason != "stop":
            proposed[-1] = ProposedText(proposed[-1].text, TRUNCATED, proposed[-1].instance)
        return proposed

    def _block(self, instruction: str, instance: Instance) -> str:
        lines = [
            f"{self.frame.colon}{self.frame.space}{one_line(instruction)}",
            self.frame.line(self.frame.input, instance.input or self.frame.no_input[0]),
            self.frame.line(self.frame.output, instance.output),
        ]
        return "\n".join(lines)

    def _encode(self, shown: Sequence[Example], *, topic: str) -> Prompt:
        heading = self.frame.heading
        blocks = [f"{heading(self.frame.task, k)}{example.text}" for k, example in enumerate(shown, 1)]
        listed = "\n\n".join([*blocks, self.frame.opening(self.frame.task, len(shown) + 1)])
        if self.style == "completion":
            return "\n\n".join(filter(None, [self.wording.single_step.header, topic, listed]))
        asked = f"{self.wording.single_step.ask} {topic}".rstrip()
        return OpenTurn([{"role": "user", "content": asked}, {"role": "assistant", "content": listed}])

    def _stop(self, shown: int) -> tuple[str, ...]:
        return (f"\n{self.frame.opening(self.frame.task, shown + self.options.num_new + 1)}",)


def read_tasks(text: str, frame: Frame) -> list[ProposedText]:
    """Return the tasks of a list, in order, each with its instance.

    A numbered mark opens a task if it counts on. A task without an output has an empty one, which the filters reject.

    Args:
        text: begins with the mark of the first task.
        frame: the words of the prompt.
    """
    written = split_lines(text)
    lines, doubtful = scan(written, mark_reader(frame, written), Mark.opens_text, attrgetter("rest"))
    blocks: list[list[Line[Mark]]] = []
    last = 0
    for line in lines:
        number = int(line.mark.number) if line.mark and line.mark.kind == "task" and line.mark.number.isdecimal() else 0
        if number and (not blocks or number == last + 1):
            blocks.append([])
            last = number
        if blocks:
            blocks[-1].append(line)
    proposed = [_task(block, frame) for block in blocks]
    if doubtful and proposed:
        fault = ambiguous("marks in a code fence that does not end")
        proposed[-1] = ProposedText(proposed[-1].text, fault, proposed[-1].instance)
    return [task for task in proposed if task.text]


def _task(block: Sequence[Line[Mark]], frame: Frame) -> ProposedText:
    fields = [(k, line.mark) for k, line in enumerate(block) if line.mark and line.mark.kind in ("input", "output")]
    ends = [k for k, _ in fields[1:]] + [len(block)]
    bodies = {"input": "", "output": ""}
    for (k, mark), end in zip(fields, ends, strict=False):
        bodies[mark.kind] = text_of(mark.rest, [line.text for line in block[k + 1 : end]], mark)
    opening = block[0].mark
    first = fields[0][0] if fields else len(block)
    instruction = one_line(" ".join([opening.rest if opening else "", *(line.text for line in block[1:first])]))
    kinds = [mark.kind for _, mark in fields]
    fault = None if kinds in (["input", "output"], ["output"], ["input"], []) else ambiguous("fields out of order")
    task_input = "" if absent_input(bodies["input"], frame) else bodies["input"]
    return ProposedText(instruction, fault, WrittenInstance(task_input, bodies["output"]))
