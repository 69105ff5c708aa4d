"""Chat with models by transformers, which starts in seconds; an engine takes a minute."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct.engines import chat_templates, foreign_code
from selfinstruct.engines.control_tokens import ControlTokens
from selfinstruct.engines.models import fetch_model, resolve_model, with_weights
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import ModelDirectory
from tuning.training import prompt_formats
from tuning.training.checkpoints import stored_record


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model, the name shown with its answers, and its revision on the Hub."""

    name: str
    model: str
    revision: str | None = None


def models(model: str, against: str | None = None) -> list[NamedModel]:
    """Return the model to ask, and the one to compare it with if there is one.

    Args:
        model: a path (of a model, an adapter or a run), a name on the Hub, or `demo`.
        against: likewise; `none`: compare with no model. None: a tuned model is compared with its base model.

    Raises:
        ConfigError: there is no such model.
        InputError: the training of one of them has not ended, or ended without weights.
    """
    path = Path(model)
    run = RunDirectory(path)
    if run.journal.is_file():
        run.model.require_trained()
        if not run.model.holds_model:
            raise ConfigError(f"{path}: has no tuned model yet; tune one with `selfinstruct tune {path}`")
        path = run.model.path
        model = str(path)
    for folder in (path, *([Path(against)] if against else [])):
        ModelDirectory(folder).require_trained()
    record = stored_record(ModelDirectory(path))
    base = (record.model or None) if record else None
    revision = record.revision if record else None
    name = "tuned" if base else Path(model).name
    if against == "none" or (against is None and base is None):
        return [NamedModel(name, model)]
    if against is None:
        return [NamedModel(name, model), NamedModel("base", str(base), revision)]
    if base and resolve_model(against) == base:
        return [NamedModel(name, model), NamedModel("base", against, revision)]
    other = Path(against).name
    return [NamedModel(name, model), NamedModel(other if other != name else against, against)]


class Speaker:
    """A loaded model and its conversation so far.

    Args:
        named: the model.
        like: the speaker of a tuned model, whose chat template is used if the model has learnt none.
        allow_control_tokens: what is typed may hold control tokens; else they are plain text.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    def __init__(self, named: NamedModel, like: Speaker | None = None, *, allow_control_tokens: bool = False) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.name = named.name
        source = resolve_model(named.model)
        fetch_model(source, named.revision)
        _, revision = with_weights(source, named.revision)
        try:
            with foreign_code.refused(named.model, "ask the model by other means: chat runs no model's code"):
                self._tokenizer = chat_templates.load_tokenizer(source, revision=named.revision)
                model = AutoModelForCausalLM.from_pretrained(
                    source, revision=revision, dtype="auto", trust_remote_code=False
                )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ConfigError(f"model {named.model!r} cannot be loaded: {error}") from error
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        ends = chat_templates.end_token_ids(self._tokenizer, self._model.generation_config.to_dict())
        brought = chat_templates.turn_end(self._tokenizer)  # Stops it also where it has not learnt the template.
        if like is not None and not chat_templates.is_own(self._tokenizer, ends):
            self._tokenizer.chat_template = like._tokenizer.chat_template
            prompt_formats.prepare(self._tokenizer, "model")
        else:
            prompt_formats.prepare(self._tokenizer, ends=ends)
        self._ends = (ends | {brought, self._tokenizer.eos_token_id}) - {None}
        self._opening = chat_templates.answer_opening(self._tokenizer)
        self._control_tokens = ControlTokens(self._tokenizer, allowed=allow_control_tokens)
        self.messages: list[dict[str, str]] = []
        self.cut = False

    def answer(self, text: str, *, max_tokens: int, temperature: float = 0.0) -> Iterator[str]:
        """Yield the answer in pieces, as they are generated. Afterwards `cut` says whether `max_tokens` ended it.

        Args:
            text: the user's next message.
            max_tokens: longest answer, in tokens.
            temperature: of sampling; 0 is greedy.

        Raises:
            InputError: the conversation and the answer do not fit into the model's context.
        """
        import torch
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        self.messages.append({"role": "user", "content": text})
        asked = chat_templates.render(self._tokenizer, self._control_tokens.broken(self.messages)) + self._opening
        ids = self._control_tokens.encode(asked)
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if context and len(ids) + max_tokens > context:
            self.messages.pop()
            raise InputError(
                f"a conversation of {len(ids)} tokens and an answer of {max_tokens} do not fit into the context of "
                f"{self.name} ({context} tokens); begin a new conversation, or lower --max-tokens"
            )
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        stop = threading.Event()
        outcome: dict[str, Any] = {}

        def generate() -> None:
            try:
                outcome["ids"] = self._model.generate(
                    inputs=torch.tensor([ids], device=self._model.device),
                    attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=self._model.device),
                    max_new_tokens=max_tokens,
                    do_sample=temperature > 0,
                    temperature=temperature if temperature > 0 else None,
                    top_p=None,
                    top_k=None,
                    eos_token_id=sorted(self._ends),
                    pad_token_id=self._tokenizer.pad_token_id,
                    streamer=streamer,
                    stopping_criteria=StoppingCriteriaList([lambda *_: stop.is_set()]),
                )
            except Exception as error:  # noqa: BLE001 - the reader raises it; else it would wait forever
                outcome["error"] = error
                streamer.end()

        thread = threading.Thread(target=generate, daemon=True)
        thread.start()
        pieces = []
        try:
            for piece in streamer:
                pieces.append(piece)
                yield piece
        finally:  # Also when the reader stops early.
            stop.set()
            thread.join()
            self.messages.append({"role": "assistant", "content": "".join(pieces).strip()})
        if "error" in outcome:
            raise outcome["error"]
        self.cut = int(outcome["ids"][0, -1]) not in self._ends

    def forget(self) -> None:
        """Begin a new conversation."""
        self.messages.clear()


def load_speakers(named: list[NamedModel], *, allow_control_tokens: bool = False) -> list[Speaker]:
    """Load the models; the first one's chat template is used for a second one without a template."""
    speakers: list[Speaker] = []
    for model in named:
        like = speakers[0] if speakers else None
        speakers.append(Speaker(model, like, allow_control_tokens=allow_control_tokens))
    return speakers


def as_json(prompt: str, answers: dict[str, str]) -> str:
    """Return one exchange as a line of JSON."""
    return json.dumps({"prompt": prompt, "answers": answers}, ensure_ascii=False)
