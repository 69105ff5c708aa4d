"""What arms are asked, part by part, and the files in which the answers are kept.

evaluation/<part>-<arm>.jsonl   one row a line; the parts are in `evaluation.py`
evaluation/<part>-<arm>.key     hash of all that determines them; while it stands nothing is asked again
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import ENGINE_IDENTITY, Config
from selfinstruct.console import console
from selfinstruct.engines.models import model_fingerprint
from selfinstruct.engines.processes import wait_until_gone
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation import prompts
from selfinstruct.records import SeedTask
from selfinstruct.run.folders import EvaluationDirectory
from tuning.evaluation.answers import ANSWERS_VERSION, Arm, EvaluationEngine, Row, prompt_format

StartEngine = Callable[[Arm, dict[str, Any]], Awaitable[EvaluationEngine]]
"""Starts the engine of an arm's model with these vLLM arguments."""


async def start_vllm(arm: Arm, arguments: dict[str, Any]) -> EvaluationEngine:
    """The engine that evaluation runs on, but in tests."""
    from selfinstruct.engines.vllm import VLLMEngine

    return await VLLMEngine.start(arm.model, revision=arm.revision, arguments=arguments)


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of answers of an arm, kept in a file of its own.

    Attributes:
        name: begins the file's name.
        content: all that determines the rows besides the arm, its engine and its prompt format; JSON values.
        make: lets an arm's engine answer.
        few_shot: whether how the arm is prompted matters; otherwise few-shot arms, which share their model with another
            arm, are left out.
    """

    name: str
    content: Any
    make: Callable[[EvaluationEngine, Arm], Coroutine[Any, Any, list[Row]]]
    few_shot: bool = True

    def concerns(self, arm: Arm) -> bool:
        """Whether this part is asked of an arm."""
        return self.few_shot or arm.prompting != "few_shot"


class Folder:
    """The kept rows of a run's evaluation."""

    def __init__(self, files: EvaluationDirectory) -> None:
        self._files = files

    def rows(self, part: str, arm: str) -> list[Row]:
        """What is kept; empty where nothing is."""
        path = self.file(part, arm)
        return [row for _, row in jsonl.read(path)] if path.exists() else []

    def file(self, part: str, arm: str) -> Path:
        """Where the rows of a part and an arm are kept."""
        return self._files.rows(part, arm)

    def arms(self, part: str) -> list[str]:
        """The arms of which rows of a part are kept, by name."""
        return self._files.arms(part)

    def scores(self) -> Row:
        """What the last evaluation wrote; empty where there was none."""
        return jsonl.read_json(self._files.scores_path) if self._files.scores_path.exists() else {}

    def stands(self, part: str, arm: str, key: str) -> bool:
        """Whether rows are kept that were determined by just this key."""
        path = self._files.key(part, arm)
        return self.file(part, arm).exists() and path.exists() and path.read_text(encoding="utf-8").strip() == key

    def keep(self, part: str, arm: str, key: str, rows: Sequence[Row]) -> None:
        """Keep rows with what determined them; a death in between leaves rows without a key, which are made again."""
        path = self._files.key(part, arm)
        path.unlink(missing_ok=True)
        jsonl.write(self.file(part, arm), rows)
        jsonl.write_text(path, key + "\n")


def key_of(content: Any) -> str:
    """SHA-256 of what determines an answer."""
    return hashlib.sha256(jsonl.dumps(content).encode()).hexdigest()


class Asking:
    """Lets arms answer whatever of their parts is not kept yet.

    Args:
        config: the run's configuration.
        folder: where the answers are kept.
        parts: what is asked, in this order.
        shown: the seeds that few-shot prompts show.
        start: starts engines.
    """

    def __init__(
        self, config: Config, folder: Folder, parts: Sequence[Part], shown: Sequence[SeedTask], start: StartEngine
    ) -> None:
        self._config = config
        self._folder = folder
        self._parts = parts
        self._examples = seed_tasks.fingerprint(shown)
        self._start = start

    def of(self, arms: Sequence[Arm]) -> dict[str, dict[str, list[Row]]]:
        """Rows by part and arm. Each model's engine starts at most once, one after the other.

        Raises:
            ConfigError: a model cannot be loaded, or its context is too short.
            EngineError: an engine did not start or died; what was answered before is kept.
        """
        waiting: dict[tuple[str, str | None], list[tuple[Arm, Part, str]]] = {}
        for arm in arms:
            fingerprint = model_fingerprint(arm.model, arm.revision)  # A model that is not there is found here.
            for part in self._parts:
                if not part.concerns(arm):
                    continue
                key = self._key(arm, part, fingerprint)
                if self._folder.stands(part.name, arm.name, key):
                    console.print(f"{arm.name}: {self._folder.file(part.name, arm.name)} is up to date")
                else:
                    waiting.setdefault((arm.model, arm.revision), []).append((arm, part, key))
        for same_model in waiting.values():
            asyncio.run(self._make(same_model))
            wait_until_gone()
        return {
            part.name: {arm.name: self._folder.rows(part.name, arm.name) for arm in arms if part.concerns(arm)}
            for part in self._parts
        }

    def _key(self, arm: Arm, part: Part, fingerprint: str) -> str:
        return key_of(
            {
                "version": [ANSWERS_VERSION, prompts.PROMPTS_VERSION],
                "model": fingerprint,
                "engine": {k: v for k, v in engine_arguments(arm, self._config).items() if k in ENGINE_IDENTITY},
                "prompting": arm.prompting,
                "examples": self._examples if arm.prompting == "few_shot" else None,
                "prompt_format": prompt_format(self._config),
                "max_tokens": self._config.evaluate.max_tokens,
                "content": part.content,
            }
        )

    async def _make(self, asked: Sequence[tuple[Arm, Part, str]]) -> None:
        """Start one model's engine, let it answer, and keep what each part comes to once it is done."""
        first = asked[0][0]
        console.print(f"starting the engine with model {first.model!r}")
        engine = await self._start(first, engine_arguments(first, self._config))
        try:
            for arm, part, key in asked:
                self._folder.keep(part.name, arm.name, key, await part.make(engine, arm))
        finally:
            await engine.close()


def engine_arguments(arm: Arm, config: Config) -> dict[str, Any]:
    """vLLM's arguments for an arm: the run's own, less what belongs to the generator's files alone."""
    if arm.model == config.model:
        return dict(config.engine)
    generators = {"tokenizer", "tokenizer_revision", "quantization", "code_revision"}
    return {name: value for name, value in config.engine.items() if name not in generators}
