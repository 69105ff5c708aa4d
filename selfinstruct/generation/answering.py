"""Answers: the output of one instruction and input, asked for as a user would ask.

A chat model gets the bare question through its chat template. A base model gets it after worked examples, and its
completion is read up to the next example. An answer that the length limit cut may go on once, from its own beginning;
one that is still cut, or that only repeated itself, is rejected. What a model thought before it answered is never part
of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfinstruct.config.schema import Sampling, Thinking
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.generation.examples import Examples, fit
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.parsing import REPEATED, TRUNCATED, parse_answer, split_thinking
from selfinstruct.generation.prompts import answer_stop, encode_answer
from selfinstruct.records import Completion, Message, OpenTurn, Prompt, SeedTask, Style, user_message


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """An answer as it was read: the instance with its fault, if it has one, and what the model thought before."""

    instance: ParsedInstance
    thinking: str


class Answering:
    """How one model is asked for outputs, and how its answers are read.

    Args:
        sampling: how answers are sampled; at most half of the context is used for one.
        examples: shown to a base model.
        engine: asked for the context length and for token counts only.
        style: how the model is asked.
        system_prompt: the system message of a chat model; None: none.
        thinking: what becomes of its thinking.
    """

    def __init__(
        self,
        sampling: Sampling,
        examples: Examples,
        engine: Engine,
        style: Style,
        *,
        system_prompt: str | None = None,
        thinking: Thinking = "off",
    ) -> None:
        self._sampling = sampling
        self._examples = examples
        self._engine = engine
        self._style = style
        self._system: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        self._thinking = thinking

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
        most = min(self._sampling.max_tokens, context // 2)
        prompt = self._question(key, instruction, task_input, context - most)
        if begun is not None:
            prompt = _going_on(prompt, begun.text)
            most = min(most, context - self._engine.count_tokens(prompt))
        if most < 1 or (begun is None and self._engine.count_tokens(prompt) > context - most):
            raise RequestFailed("prompt_too_long", f"{key}: no room for an answer in the context of {context} tokens")
        stop = answer_stop(self._examples.frame) if self._style == "completion" else ()
        sampling = self._sampling.model_copy(update={"max_tokens": most})
        thinks = self._thinking != "off"
        return Request(key, prompt, sampling, stop, stop_loops=True, thinking=thinks)

    def read(self, task_input: str, completion: Completion, begun: Completion | None = None) -> ReadAnswer:
        """Return the instance in an answer.

        Args:
            task_input: the input that was shown.
            completion: the answer, or the rest of it.
            begun: its beginning, if it was cut.
        """
        text = (begun.text if begun else "") + completion.text
        thinking = ""
        if self._style == "chat":
            thinking, output = split_thinking(text)
        else:
            output = parse_answer(text, self._examples.frame)
        fault = {"stop": None, "repetition": REPEATED}.get(completion.finish_reason, TRUNCATED)
        return ReadAnswer(ParsedInstance(task_input, output, fault), thinking if self._thinking == "keep" else "")

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
