"""Prompts as a model sees them: through its tokenizer and its chat template. Needs no engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from selfinstruct.engines import chat_templates
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.control_tokens import ControlTokens, special_ids
from selfinstruct.engines.known_pieces import KnownPieces
from selfinstruct.engines.shared_beginnings import SharedBeginnings
from selfinstruct.errors import EngineError, SelfInstructError
from selfinstruct.records import Completion, Message, OpenTurn, Prompt

_MOST_COUNTED = 4096
"""Prompts whose tokens wait for their request."""


class _Counted(NamedTuple):
    """The tokens of a prompt, which is kept with them: no other object gets its `id` meanwhile."""

    prompt: Prompt
    template: str | None
    ids: list[int]


class TokenizedPrompts:
    """The part of an `Engine` that needs no model: it renders, encodes and counts prompts.

    Args:
        tokenizer: of transformers.
        context_length: tokens of prompt and answer together, at most.
        generation_config: the content of the model's `generation_config.json`.

    Attributes:
        generation_config: as it was given.
        end_token_ids: the tokens that the model itself ends a text with.
        stop_token_ids: the tokens that end an answer: these, and the one that ends a turn of its tokenizer's template.
        capacity: requests that the engine computes at once; set when there is a model.
        chat_template: when set, used instead of the tokenizer's own.
        control_tokens: encodes contents that hold the text of such tokens.
    """

    tells_logprobs = False

    def __init__(self, tokenizer: Any, context_length: int, generation_config: Mapping[str, Any]) -> None:
        chat_templates.settle(tokenizer)
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.generation_config = generation_config
        self.end_token_ids = chat_templates.end_token_ids(tokenizer, generation_config)
        turn_end = chat_templates.turn_end(tokenizer)
        self.stop_token_ids = self.end_token_ids if turn_end is None else self.end_token_ids | {turn_end}
        self.brings_chat_template = bool(tokenizer.chat_template)
        self.has_chat_template = turn_end in self.end_token_ids
        self.capacity = 1
        self.chat_template: str | None = None
        self.control_tokens = ControlTokens(tokenizer)
        self._openings: dict[str | None, str] = {}
        texts = KnownPieces(partial(self.control_tokens.encode_text, add_special_tokens=True), self.encode_text)
        self._texts = SharedBeginnings(texts.whole, texts.rest)
        conversations = KnownPieces(self.control_tokens.encode, self.control_tokens.encode)
        self._conversations = SharedBeginnings(conversations.whole, conversations.rest)
        self._counted: dict[int, _Counted] = {}

    def encode(self, prompt: Prompt, *, thinking: bool = False) -> list[int]:
        """Return the token ids of a prompt: text with the special tokens, or messages through the template.

        Args:
            prompt: the prompt.
            thinking: let a chat model think before it answers; else it answers at once.
        """
        counted = self._counted.pop(id(prompt), None)
        if counted is not None and not thinking and counted.template == self.chat_template:
            return counted.ids
        if isinstance(prompt, str):
            return self._texts.encode(prompt)
        broken = self.control_tokens.broken(prompt)
        messages = OpenTurn(broken) if isinstance(prompt, OpenTurn) else broken
        return self._conversations.encode(self._rendered(messages, thinking))

    def request_ids(self, request: Request) -> list[int]:
        """Return the token ids of a request's prompt.

        Raises:
            RequestFailed: the chat template or the tokenizer refuses it.
        """
        try:
            return self.encode(request.prompt, thinking=request.thinking)
        except SelfInstructError:
            raise
        except Exception as error:  # A chat template or a tokenizer may raise anything; other prompts may do.
            raise RequestFailed("refused", f"{type(error).__name__}: {error}"[:500]) from error

    def encode_text(self, text: str) -> list[int]:
        """Return the token ids of a text by itself, without any control token."""
        return self.control_tokens.encode_text(text)

    def render(self, prompt: Prompt) -> str:
        """Return the prompt as text; messages are rendered by the chat template, up to where the model writes."""
        return prompt if isinstance(prompt, str) else self._rendered(prompt)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of the prompt, chat template and special tokens included.

        The tokens are kept for the request that follows with this very prompt.
        """
        ids = self.encode(prompt)
        if len(self._counted) >= _MOST_COUNTED:
            del self._counted[next(iter(self._counted))]
        self._counted[id(prompt)] = _Counted(prompt, self.chat_template, ids)
        return len(ids)

    def ends(self, prompt: Prompt) -> tuple[frozenset[int], tuple[str, ...]]:
        """Return the tokens and the strings that end what the model writes after a prompt, by the chat template.

        A model that writes the user's turn has no answer to end: every control token ends it, or where a template is
        written in plain text, what follows a user's message.
        """
        if not isinstance(prompt, OpenTurn) or prompt[-1]["role"] != "user":
            return self.stop_token_ids, ()
        after = self.control_tokens.before_first(chat_templates.opened(self.tokenizer, prompt, self.chat_template)[1])
        strings = (after.strip(),) if after.strip() else ()
        return self.stop_token_ids | special_ids(self.tokenizer), strings

    def _rendered(self, messages: list[Message], thinking: bool = False) -> str:
        template = self.chat_template
        if thinking:
            # A template may leave out thinking from an answer that has begun.
            asked, begun = (
                (messages[:-1], messages[-1]["content"]) if isinstance(messages, OpenTurn) else (messages, "")
            )
            return chat_templates.render(self.tokenizer, asked, template, thinking=True) + begun
        if isinstance(messages, OpenTurn):
            return chat_templates.opened(self.tokenizer, messages, template)[0]
        if template not in self._openings:
            self._openings[template] = chat_templates.answer_opening(self.tokenizer, template)
        return chat_templates.render(self.tokenizer, messages, template) + self._openings[template]

    async def generate(self, request: Request) -> Completion:
        """Raise EngineError: no engine has been started."""
        raise EngineError(f"{request.key}: asked before an engine was started")

    def progress(self) -> int:
        """Return 0: there are no requests."""
        return 0

    async def close(self) -> None:
        """Do nothing: no engine has been started."""
