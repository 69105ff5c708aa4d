"""A reward model: a sequence classifier of transformers with one output, trained to prefer good answers.

Question and answer go through the model's own chat template, as a user's and an assistant's message; a model without
one reads them one after the other. The score is its logit: only differences mean anything.
"""

from __future__ import annotations

import asyncio
from typing import Any

from selfinstruct.console import console
from selfinstruct.engines.base import RequestFailed
from selfinstruct.engines.models import fetch_model, resolve_model
from selfinstruct.errors import ConfigError
from selfinstruct.generation.scorers.interface import RatedAnswer, Scored
from selfinstruct.run.answer_scores import Scorer


class Reward:
    """Scores answers with a reward model, one at a time.

    Args:
        model: a path, or a name on the Hub.

    Raises:
        ConfigError: the model cannot be loaded, or has not one output.
    """

    def __init__(self, model: str) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        console.print(f"loading the reward model {model!r}", markup=False)
        folder = fetch_model(resolve_model(model), None)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype="auto", trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"rate.model: {model!r} cannot be loaded as a reward model: {error}") from error
        if loaded.config.num_labels != 1:
            raise ConfigError(
                f"rate.model: {model!r} has {loaded.config.num_labels} outputs; a reward model has one. Is it one?"
            )
        self._model = loaded.to(device).eval()
        self._longest = min(
            getattr(loaded.config, "max_position_embeddings", None) or self._tokenizer.model_max_length,
            self._tokenizer.model_max_length,
        )
        self.about = Scorer("reward", model, "1")

    async def score(self, answer: RatedAnswer) -> Scored:
        """Score one answer; see `AnswerScorer.score`."""
        return Scored(await asyncio.to_thread(self._logit, self._encode(answer)))

    def _encode(self, answer: RatedAnswer) -> list[int]:
        if self._tokenizer.chat_template:
            messages = [
                {"role": "user", "content": answer.question},
                {"role": "assistant", "content": answer.output},
            ]
            text = self._tokenizer.apply_chat_template(messages, tokenize=False)
            ids = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        else:
            ids = self._tokenizer(answer.question, answer.output, verbose=False).input_ids
        if len(ids) > self._longest:
            raise RequestFailed("prompt_too_long", f"{len(ids)} tokens > {self._longest}")
        return list(ids)

    def _logit(self, ids: list[int]) -> float:
        import torch

        with torch.inference_mode():
            logits = self._model(input_ids=torch.tensor([ids], device=self._model.device)).logits
        return round(float(logits[0, 0]), 4)
