"""Scripted engines and tokenizers for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.records import Completion, Prompt
from tuning.evaluation.answers import Arm


class Words:
    """A tokenizer of whitespace-separated words, as far as evaluation needs one."""

    eos_token = "</s>"
    pad_token = "<pad>"
    bos_token_id = None
    eos_token_id = 1000
    all_special_ids: tuple[int, ...] = ()
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012 - transformers' own form
    chat_template: str | None = "its own"

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in text.split()]}

    def apply_chat_template(self, messages: Any, **_: Any) -> str:
        return ""  # A template that writes nothing, so no token that ends an answer either.

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"</s>": 1000}[token]


class Model(ScriptedEngine):
    """A scripted engine with the further methods that evaluation asks for."""

    def __init__(self, answers: Callable[[Request], Any], *, has_chat_template: bool = True, **options: Any) -> None:
        super().__init__(answers, has_chat_template=has_chat_template, **options)
        self.tokenizer: Any = Words()
        self.chat_template: str | None = None
        self.end_token_ids = self.stop_token_ids = frozenset({1000})
        self.measured: list[list[int]] = []
        self.closed = False

    def render(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else "".join(f"<{m['role']}>{m['content']}" for m in prompt)

    def encode(self, prompt: Prompt) -> list[int]:
        return [0] * self.count_tokens(prompt)

    def encode_text(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        self.measured.append(response_ids)
        return -2.0 * len(response_ids)

    async def close(self) -> None:
        await super().close()
        self.closed = True


def says(text: str, reason: Any = "stop") -> Callable[[Request], Completion]:
    return lambda request: Completion(text, reason, 5, 3)


class Starter:
    """Starts scripted engines by model, and remembers them."""

    def __init__(self, **by_model: Any) -> None:
        self.by_model = by_model
        self.started: list[tuple[str, Model]] = []
        self.arguments: list[dict[str, Any]] = []

    async def __call__(self, arm: Arm, arguments: dict[str, Any]) -> Model:
        assert all(engine.closed for _, engine in self.started), "two engines at once do not fit a GPU"
        answers = self.by_model.get(Path(arm.model).name, says("the answer"))
        if isinstance(answers, Exception):
            raise answers
        engine = Model(answers)
        self.started.append((Path(arm.model).name, engine))
        self.arguments.append(arguments)
        return engine

    @property
    def models(self) -> list[str]:
        return [model for model, _ in self.started]
