"""Answers: the output of one instruction and input, asked for as a user would ask.

A chat model gets the bare question through its chat template. A base model gets it after worked examples, and its
completion is read up to the next example. An answer that the length limit cut may go on once, from its own beginning;
one that is still cut, or that only repeated itself, is rejected. What a model thought before it answered is never part
of the answer. Several answers may be sampled at once; `kept_samples.py` says which of them are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from selfinstruct.config.schema import Answer
from selfinstruct.constraints import keeps
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.generation.examples import Examples, fit
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import RowCheck
from selfinstruct.generation.instance_decisions import decide_instances
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.kept_samples import choose
from selfinstruct.generation.parsing import REPEATED, TRUNCATED, parse_answer, split_thinking
from selfinstruct.generation.prompts import encode_answer, next_example
from selfinstruct.generation.score_bounds import ScoreBounds
from selfinstruct.records import (
    Completion,
    Constraint,
    Message,
    OpenTurn,
    Prompt,
    Rejection,
    SeedTask,
    Style,
    user_message,
)
from selfinstruct.run.lines import InstanceCandidate

_FAULTS = {"length": TRUNCATED, "abort": TRUNCATED, "repetition": REPEATED}
"""What is wrong with an answer that has not ended by itself."""


class Answering:
    """How one model is asked for outputs, and how its answers are read.

    Args:
        options: how answers are sampled, at most half of the context for one, and which are kept.
        examples: shown to a base model.
        engine: asked for the context length and for token counts only.
        style: how the model is asked.
        check_row: decides whether a row with an answer is kept.
    """

    def __init__(self, options: Answer, examples: Examples, engine: Engine, style: Style, check_row: RowCheck) -> None:
        self._options = options
        self._examples = examples
        self._engine = engine
        self._style = style
        self._check_row = check_row
        system = options.system_prompt
        self._system: list[Message] = [{"role": "system", "content": system}] if system else []

    def request(self, key: str, instruction: str, task_input: str, begun: Completion | None = None) -> Request:
        """Return the request for one output, or for the rest of one.

        Args:
            key: names the request.
            instruction: the instruction.
            task_input: its input; may be empty.
            begun: the beginning of the answer, if it was cut.

        Raises:
            RequestFailed: the question leaves no room for an answer.
        """
        context = self._engine.context_length
        most = min(self._options.max_tokens, context // 2)
        prompt = self._question(key, instruction, task_input, context - most)
        if begun is not None:
            prompt = _going_on(prompt, begun.text)
            most = min(most, context - self._engine.count_tokens(prompt))
        if most < 1 or (begun is None and self._engine.count_tokens(prompt) > context - most):
            raise RequestFailed("prompt_too_long", f"{key}: no room for an answer in the context of {context} tokens")
        another = next_example(self._examples.frame) if self._style == "completion" else None
        sampling = self._options.model_copy(update={"max_tokens": most})
        thinks, samples = self._options.thinking != "off", self._options.num_samples
        return Request(key, prompt, sampling, stop_loops=True, ends_before=another, thinking=thinks, samples=samples)

    def goes_on(self, completion: Completion, begun: Completion | None) -> bool:
        """Return whether an answer is to be continued.

        Args:
            completion: the answer, or its rest.
            begun: its beginning, if it was cut.
        """
        alone = self._options.continue_cut and not completion.further
        return alone and begun is None and completion.finish_reason == "length"

    def decide(
        self,
        instruction: str,
        task_input: str,
        completion: Completion,
        begun: Completion | None = None,
        constraints: tuple[Constraint, ...] = (),
        *,
        is_label: bool = False,
    ) -> tuple[InstanceCandidate, ...]:
        """Decide on the answers in a completion.

        Args:
            instruction: the instruction, without the constraints.
            task_input: the input that was shown.
            completion: the answers, or the rest of one.
            begun: its beginning, if it was cut.
            constraints: what was demanded beside the instruction.
            is_label: whether the answer is a label.
        """
        read = [self._read(begun.text + sample.text if begun else sample.text) for sample in completion.samples]
        parsed = [
            ParsedInstance(task_input, output, _FAULTS.get(sample.finish_reason, doubt))
            for (_, output, doubt), sample in zip(read, completion.samples, strict=True)
        ]
        return self.decide_read(
            instruction, parsed, [thinking for thinking, _, _ in read], constraints, is_label=is_label
        )

    def decide_read(
        self,
        instruction: str,
        parsed: Sequence[ParsedInstance],
        thinking: Sequence[str],
        constraints: tuple[Constraint, ...] = (),
        *,
        is_label: bool = False,
        scores: Sequence[float | None] = (),
        bounds: ScoreBounds | None = None,
    ) -> tuple[InstanceCandidate, ...]:
        """Decide on answers to one question.

        Args:
            instruction: the instruction, without the constraints.
            parsed: the answers, in order.
            thinking: what the model thought before each.
            constraints: what was demanded beside the instruction.
            is_label: whether the answer is a label.
            scores: of the answers, where they were rated.
            bounds: what these must reach.
        """
        decided = []
        for one, thought in zip(parsed, thinking, strict=True):
            row = self._check_row(Row(instruction, one.input, one.output, is_label, constraints))
            (candidate,) = decide_instances([one], [row], max_instances=1)
            verified = tuple(keeps(one.output, constraint) for constraint in constraints)
            decided.append(msgspec.structs.replace(candidate, thinking=thought, verified=verified))
        return choose(decided, self._options.keep, scores, bounds)

    def _read(self, text: str) -> tuple[str, str, Rejection | None]:
        """Return what the model thought, if that is kept, its answer, and what is doubtful about it."""
        if self._style == "completion":
            return "", *parse_answer(text, self._examples.frame)
        thinking, output = split_thinking(text)
        return thinking if self._options.thinking == "keep" else "", output, None

    def _question(self, key: str, instruction: str, task_input: str, limit: int) -> Prompt:
        if self._style == "chat":
            return [*self._system, {"role": "user", "content": user_message(instruction, task_input)}]

        def encode(shown: Sequence[SeedTask]) -> Prompt:
            return encode_answer(instruction, task_input, shown, self._examples.frame)

        fitted = fit(encode, self._examples.tasks, limit, self._engine.count_tokens)
        if fitted is None:
            raise RequestFailed("prompt_too_long", f"{key}: more than {limit} tokens")
        return fitted[0]


def _going_on(prompt: Prompt, begun: str) -> Prompt:
    """Return the prompt with the beginning of its answer; the model continues the text."""
    return prompt + begun if isinstance(prompt, str) else OpenTurn([*prompt, {"role": "assistant", "content": begun}])
