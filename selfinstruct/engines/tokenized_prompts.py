"""Prompts as a model sees them: through its tokenizer and its chat template. Needs no engine."""

from __future__ import annotations

from typing import Any

from selfinstruct.engines.base import Request
from selfinstruct.errors import EngineError
from selfinstruct.records import Completion, Prompt


class TokenizedPrompts:
    """The part of an `Engine` that needs no model: it renders, encodes and counts prompts.

    Args:
        tokenizer: of transformers.
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
        """Return the token ids of a prompt: text with the special tokens, or messages through the template."""
        return list(self.tokenizer(self.render(prompt), add_special_tokens=isinstance(prompt, str)).input_ids)

    def render(self, prompt: Prompt) -> str:
        """Return the prompt as text; messages are rendered by the chat template."""
        if isinstance(prompt, str):
            return prompt
        # Thinking would use up the answer's tokens before it begins. Templates without this option ignore it.
        options = {"add_generation_prompt": True, "enable_thinking": False, "chat_template": self.chat_template}
        return str(self.tokenizer.apply_chat_template(prompt, tokenize=False, **options))

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of the prompt, chat template and special tokens included."""
        return len(self.encode(prompt))

    async def generate(self, request: Request) -> Completion:
        """Raise EngineError: no engine has been started."""
        raise EngineError(f"{request.key}: asked before an engine was started")

    def progress(self) -> int:
        """Return 0: there are no requests."""
        return 0

    async def close(self) -> None:
        """Do nothing: no engine has been started."""
