"""Prompts as a model sees them: through its tokenizer and its chat template. Needs no engine."""

from __future__ import annotations

from typing import Any

from selfinstruct.engines.base import Request
from selfinstruct.errors import EngineError
from selfinstruct.records import Completion, Prompt


class TokenizedPrompts:
    """The half of an `Engine` that asks no model: it renders, encodes and counts.

    Args:
        tokenizer: transformers'.
        context_length: tokens of prompt and answer together, at most.

    Attributes:
        chat_template: when set, used instead of the tokenizer's own.
    """

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.has_chat_template = bool(getattr(tokenizer, "chat_template", None))
        self.chat_template: str | None = None

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt: the text with the tokenizer's own special tokens, or messages through its template."""
        return list(self.tokenizer(self.render(prompt), add_special_tokens=isinstance(prompt, str)).input_ids)

    def render(self, prompt: Prompt) -> str:
        """The prompt as text: messages through the chat template."""
        if isinstance(prompt, str):
            return prompt
        # Thinking would spend the answer's tokens before it begins; templates without the switch ignore it.
        options = {"add_generation_prompt": True, "enable_thinking": False, "chat_template": self.chat_template}
        return str(self.tokenizer.apply_chat_template(prompt, tokenize=False, **options))

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the model will see it."""
        return len(self.encode(prompt))

    async def generate(self, request: Request) -> Completion:
        """There is nobody to ask."""
        raise EngineError(f"{request.key}: asked before an engine was started")

    def progress(self) -> int:
        """Nothing is under way."""
        return 0

    async def close(self) -> None:
        """Nothing was started."""
