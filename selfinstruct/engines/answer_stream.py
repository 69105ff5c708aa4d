"""Read an answer while a server writes it, so that one that only repeats itself does not cost all its tokens.

data: {"choices": [{"text": " a river", "finish_reason": null}], "usage": {"completion_tokens": 12, ...}}
data: {"choices": [{"text": ".", "finish_reason": "stop"}], "usage": null}
data: {"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 13}}
data: [DONE]
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from selfinstruct.engines.endings import Watched
from selfinstruct.engines.openai_client import NonsenseError, decoded, parts_of

BYTES_PER_EVENT = 2_048
"""Bound of a streamed answer: this many bytes for each token, since each may come in an event of its own."""
_DONE = b"[DONE]"


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: Any = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Any = None
    error: Any = None


async def read_stream(response: Any, answer: Watched, bound: int) -> tuple[str | None, Any]:
    """Read the events of an answer until it ends, or until it has written what ends it.

    Args:
        response: of OpenAI's client, not read yet.
        answer: gets what is written.
        bound: most bytes.

    Returns:
        The server's finish reason, None if the answer ended before; and the last usage that it reported, None if none.

    Raises:
        NonsenseError: it breaks off, is too long, or holds an event that is none.
    """
    finish, usage = None, None
    async with aclosing(_events(response, bound)) as events:
        async for data in events:
            if data == _DONE:
                break
            event = decoded(data, _Event)
            if event.error is not None:
                raise NonsenseError(f"the answer breaks off: {str(event.error)[:200]}")
            usage = event.usage or usage
            for choice in event.choices[:1]:
                answer.add((choice.text if choice.delta is None else choice.delta.content) or "")
                finish = choice.finish_reason or finish
            if answer.ended is not None:
                return None, usage
    if finish is None:
        raise NonsenseError("the answer breaks off (it has no finish_reason)")
    return str(finish), usage


async def _events(response: Any, bound: int) -> AsyncGenerator[bytes]:
    """Yield the data of each event; those of OpenAI's interface have one line of it."""
    buffer, searched = bytearray(), 0
    async with aclosing(parts_of(response, bound)) as parts:
        async for part in parts:
            buffer += part
            while (end := buffer.find(b"\n", searched)) >= 0:
                line, searched = bytes(buffer[:end]), 0
                del buffer[: end + 1]
                if line.startswith(b"data:"):
                    yield line[5:].strip()
            searched = len(buffer)
    if buffer.startswith(b"data:"):
        yield bytes(buffer[5:]).strip()
