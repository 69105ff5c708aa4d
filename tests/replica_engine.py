"""An engine that a replica's process runs in tests: it does what the prompt says.

say 7 8 9       answers with the tokens' numbers, as text
sleep           answers nothing until it is withdrawn
refuse          fails this request
die             ends this process at once, as SIGKILL does
break           ends the engine, not its process
surrogate       answers with what is no Unicode text
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfinstruct.console import console
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.records import Completion

WORDS = ["say", "sleep", "refuse", "die", "break", "who", "surrogate"]


class WordTokenizer:
    """Words that are commands, and numbers."""

    chat_template = None
    eos_token_id = 0
    bos_token_id = None
    name_or_path = "words"
    all_special_ids: tuple[int, ...] = ()
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012 - transformers' own form

    def __call__(self, text: str, add_special_tokens: bool) -> Any:
        return type("Encoding", (), {"input_ids": [self.token(word) for word in text.split()]})()

    @staticmethod
    def token(word: str) -> int:
        """Return a word's number."""
        return WORDS.index(word) if word in WORDS else 100 + int(word)


class Obedient:
    """Does what the first token of a prompt says."""

    def __init__(self, folder: str, capacity: int) -> None:
        self.context_length = 64
        self.generation_config: Mapping[str, Any] = {}
        self.capacity = capacity
        self.tells_logprobs = True
        self.folder = Path(folder)
        self.asked = 0

    async def answer(
        self, request: Request, ids: list[int], ends: tuple[frozenset[int], tuple[str, ...]]
    ) -> Completion:
        self.asked += 1
        command, *numbers = WORDS[ids[0]], *[number - 100 for number in ids[1:]]
        if command == "who":
            seen = os.environ.get("CUDA_VISIBLE_DEVICES")
            await asyncio.sleep(0.2)
            return Completion(f"{os.getpid()} {seen}", "stop")
        if command == "sleep":
            try:
                await asyncio.sleep(3600)
            finally:
                (self.folder / f"withdrawn-{numbers[0]}").touch()
        if command == "refuse":
            raise RequestFailed("refused", f"{request.key}: no")
        if command == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if command == "break":
            raise EngineError("the engine broke")
        if command == "surrogate":
            return Completion("half a character: \ud83d", "stop")
        choices = dict.fromkeys(request.choices, -0.5) if request.choices else None
        pattern = request.ends_before.pattern if request.ends_before else ""
        text = f"{numbers} {request.sampling.max_tokens} {pattern} {sorted(ends[0])} {request.stop}"
        return Completion(text, "stop", len(ids), 1, choices, cached_tokens=3)

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        return -float(len(prompt_ids) + 10 * len(response_ids))

    def progress(self) -> int:
        return self.asked

    async def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()


async def start(folder: str, capacity: int = 4, fails: str = "", once: bool = False) -> Obedient:
    """Start one; `fails` says how it does not, `once` that the second start in a folder fails."""
    number = len(list(Path(folder).glob("started-*")))  # noqa: ASYNC240 - a test
    (Path(folder) / f"started-{number}-{os.getpid()}").touch()
    console.print(f"start {number}: it has something to say")
    print("what libraries say")
    if fails == "configuration":
        raise ConfigError("no such model; give another one")
    if fails == "engine" or (once and number >= 2):
        raise EngineError("it cannot start")
    if fails == "death":
        os.kill(os.getpid(), signal.SIGKILL)
    if fails == "slow" and number:
        await asyncio.sleep(3600)
    return Obedient(folder, capacity)
