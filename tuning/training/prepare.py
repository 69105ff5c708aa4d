"""The first step of a training: everything that can be known before the model is loaded.

The base model's tokenizer gets its template and special tokens, the rows become token ids and labels, and from both
follow the arguments that depend on the model or the data. `SFTConfig` is made after that, once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import trl

from selfinstruct.engines import chat_templates, foreign_code
from selfinstruct.engines.model_facts import quantization_of
from selfinstruct.engines.models import resolve_model
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.records import SPLITS, TRAIN, UNSEEN
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import Template
from tuning.training import data, end_token, memory, prompt_formats
from tuning.training.arguments import BEST_METRIC, Arguments, learning_rate
from tuning.training.data import Rows, TokenizedRow
from tuning.training.findings import SequenceLimits, has_trained
from tuning.training.memory import ModelSize


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The model that is tuned.

    Attributes:
        source: a path, or a name on the Hub.
        options: keyword arguments of every `from_pretrained` that loads it.
    """

    source: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, arguments: Arguments) -> BaseModel:
        """Return the base model that the arguments name.

        Raises:
            ConfigError: there is no such model.
        """
        model, training = arguments.model, arguments.training
        options = {"revision": model.model_revision, "trust_remote_code": training["trust_remote_code"]}
        return cls(resolve_model(str(model.model_name_or_path)), options)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a training is made of.

    Attributes:
        base: the model that is tuned.
        model_config: its transformers configuration.
        size: None where it cannot be computed; TRL's own message then says what is wrong with the arguments.
        tokenizer: with the template and the special tokens to tune with.
        template: which ones these are.
        new_end_token: the base model does not end a text with the template's end token, and has to learn it.
        unlearnt_end: it ends a text with that token, as its files say, but has never learnt it.
        has_markers: whether the template has `{% generation %}` markers.
        rows: the dataset, by split.
        tokens: the same rows as token ids and labels, at full length.
        limits: how these rows must end, and how long they may be.
    """

    base: BaseModel
    model_config: Any
    size: ModelSize | None
    tokenizer: Any
    template: Template
    new_end_token: bool
    unlearnt_end: bool
    has_markers: bool
    rows: Rows
    tokens: Mapping[str, Sequence[TokenizedRow]]
    limits: SequenceLimits

    @property
    def trained_rows(self) -> list[TokenizedRow]:
        """Return the training rows with at least one trained token."""
        return [row for row in self.tokens[TRAIN] if row.num_trained]

    @property
    def validation(self) -> dict[str, list[TokenizedRow]]:
        """Return the rows of the validation splits that the loss can be measured on; splits without any are absent."""
        splits = {
            split: [row for row in self.tokens[split] if has_trained(self.limits.cut(row.labels))]
            for split in SPLITS
            if split != TRAIN
        }
        return {split: rows for split, rows in splits.items() if rows}


def prepare_tokenizer(arguments: Arguments, base: BaseModel) -> tuple[Any, Template, frozenset[int]]:
    """Return the tokenizer as it is tuned with, its template, and the tokens that the base model ends a text with.

    Args:
        arguments: of the training.
        base: the model that is tuned.

    Raises:
        ConfigError: it cannot be loaded, or the prompt format or a token does not exist.
    """
    training = arguments.training
    with loading(base):
        tokenizer = chat_templates.load_tokenizer(base.source, **base.options)
        generation_config = chat_templates.read_generation_config(base.source, **base.options).to_dict()
    ends = chat_templates.end_token_ids(tokenizer, generation_config)
    template = prompt_formats.prepare(
        tokenizer, arguments.tune.prompt_format, training["eos_token"], training["chat_template_path"], ends=ends
    )
    return tokenizer, template, ends


def prepare(arguments: Arguments, base: BaseModel, rows: Rows) -> Prepared:
    """Prepare the tokenizer and the rows.

    Args:
        arguments: of the training.
        base: the model that is tuned.
        rows: the dataset.

    Raises:
        ConfigError: the model cannot be loaded, or the prompt format or a token does not exist.
    """
    from transformers import AutoConfig

    training = arguments.training
    with loading(base):
        model_config = AutoConfig.from_pretrained(base.source, **base.options)
    tokenizer, template, ends = prepare_tokenizer(arguments, base)
    marking = _marking_template(tokenizer)
    assistant_template = marking if training["assistant_only_loss"] else None
    completion_only = training["completion_only_loss"] is not False
    return Prepared(
        base=base,
        model_config=model_config,
        size=_size(arguments, model_config),
        tokenizer=tokenizer,
        template=template,
        new_end_token=tokenizer.eos_token_id not in ends,
        unlearnt_end=tokenizer.eos_token_id in ends
        and end_token.is_unlearnt(base.source, arguments.model.model_revision, tokenizer),
        has_markers=marking is not None,
        rows=rows,
        tokens={
            split: data.tokenize(
                rows[split],
                tokenizer,
                completion_only=completion_only,
                assistant_template=assistant_template,
                allow_control_tokens=arguments.tune.allow_control_tokens,
            )
            for split in SPLITS
        },
        limits=_limits(arguments, model_config, tokenizer),
    )


def sft_config(arguments: Arguments, prepared: Prepared, *, continues: bool) -> trl.SFTConfig:
    """Make the final `SFTConfig`, and with it the connection to the other processes.

    Args:
        arguments: as the user gave them.
        prepared: the model and the data that the rest follows from.
        continues: whether a checkpoint is continued.

    Raises:
        ConfigError: TRL refuses an argument.
        InputError: the best checkpoint cannot be chosen, because validation_unseen is empty.
    """
    model = arguments.model
    changes: dict[str, Any] = {
        "output_dir": str(ModelDirectory(Path(arguments.training["output_dir"])).checkpoints),
        "max_length": prepared.limits.max_length,
        # The rows are tokenized and have labels. TRL refuses these arguments for such rows.
        "chat_template_path": None,
        "completion_only_loss": None,
        "assistant_only_loss": False,
        "model_init_kwargs": {
            "revision": model.model_revision,
            "attn_implementation": model.attn_implementation,
            "dtype": model.dtype,
            **in_16_bits(prepared.model_config),
            **_model_init_kwargs(arguments),
        },
    }
    if "learning_rate" not in arguments.by_user and prepared.size is not None:
        changes["learning_rate"] = learning_rate(prepared.size.parameters, lora=model.use_peft)
    if continues:
        changes["eval_on_start"] = False
    return arguments.sft_config(**changes, **_evaluation(arguments, prepared))


def _evaluation(arguments: Arguments, prepared: Prepared) -> dict[str, Any]:
    """Return the changes where splits to evaluate on are missing."""
    training, splits = arguments.training, prepared.validation
    evaluates = bool(splits) and training["eval_strategy"] != "no"
    changes: dict[str, Any] = {} if evaluates else {"eval_strategy": "no", "eval_on_start": False, "do_eval": False}
    by_unseen = training["load_best_model_at_end"] and training["metric_for_best_model"] == BEST_METRIC
    if by_unseen and not (evaluates and UNSEEN in splits):
        if {"load_best_model_at_end", "early_stopping_patience"} & arguments.by_user.keys():
            raise InputError(
                "the best checkpoint is chosen by the loss on validation_unseen, which has no row; raise "
                "export.validation_unseen, or give neither --early_stopping_patience nor --load_best_model_at_end"
            )
        changes |= {"load_best_model_at_end": False, "metric_for_best_model": None}
    return changes


@contextlib.contextmanager
def loading(base: BaseModel) -> Iterator[None]:
    """Turn the errors of a model that cannot be loaded into one that names it.

    Raises:
        ConfigError: the block raised such an error.
    """
    try:
        with foreign_code.refused(base.source, foreign_code.TUNER):
            yield
    except (OSError, KeyError, ImportError) as error:
        raise ConfigError(f"model {base.source!r} cannot be loaded: {error}") from error


def in_16_bits(model_config: Any) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that load MXFP4 weights in 16 bits: on those no adapter can be trained.

    Args:
        model_config: a transformers configuration; one of other weights needs no arguments.
    """
    if quantization_of(model_config) != "mxfp4":
        return {}
    from transformers import Mxfp4Config

    return {"quantization_config": Mxfp4Config(dequantize=True)}


def _marking_template(tokenizer: Any) -> str | None:
    """Return the tokenizer's template with generation markers, or None if neither it nor TRL has one."""
    try:
        return trl.get_training_chat_template(tokenizer) or tokenizer.chat_template
    except ValueError:
        return None


def _limits(arguments: Arguments, model_config: Any, tokenizer: Any) -> SequenceLimits:
    """Return what TRL does to long rows. Unless the user gives a limit, the model's context is one, too."""
    training = arguments.training
    max_length = training["max_length"]
    context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    if context and max_length and "max_length" not in arguments.by_user:
        max_length = min(max_length, context)
    keeps: Literal["start", "end", "all"] = "end" if training["truncation_mode"] == "keep_end" else "start"
    if training["packing"]:
        keeps = "start" if training["packing_strategy"] == "bfd" else "all"
    return SequenceLimits(tokenizer.eos_token_id, tokenizer.eos_token, max_length, keeps)


def _size(arguments: Arguments, model_config: Any) -> ModelSize | None:
    model = arguments.model
    try:
        return memory.model_size(
            model_config,
            trl.get_peft_config(model),
            quantized=model.load_in_4bit or model.load_in_8bit,
            trust_remote_code=arguments.training["trust_remote_code"],
        )
    except (ValueError, TypeError, AttributeError, KeyError, ImportError, RuntimeError, NotImplementedError):
        return None


def _model_init_kwargs(arguments: Arguments) -> dict[str, Any]:
    value = arguments.training["model_init_kwargs"]
    try:
        options = json.loads(value) if isinstance(value, str) else value or {}
        return dict(options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"--model_init_kwargs must be a JSON object: {error}") from error
