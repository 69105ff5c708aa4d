"""The second step of a training: put arguments, rows and model to every check.

What can be known before the model is loaded is checked before it is loaded, all at once. Two checks need the loaded
model, because no option promises their result: what padding does to labels, and whether packed documents see each
other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import trl

from selfinstruct.console import console
from selfinstruct.engines.control_tokens import ControlTokens
from selfinstruct.records import TRAIN, UNSEEN
from selfinstruct.run.training_record import Finding, Memory
from tuning.training import findings, leaks, memory
from tuning.training.adapter import trains_token
from tuning.training.arguments import Arguments
from tuning.training.data import TokenizedRow
from tuning.training.memory import MemorySettings
from tuning.training.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks have found, and the memory of the device with the estimate of what the training needs."""

    findings: tuple[Finding, ...]
    memory: Memory


def check(arguments: Arguments, config: trl.SFTConfig, prepared: Prepared) -> Checked:
    """Check rows, template, settings and memory.

    Args:
        arguments: of the training.
        config: TRL's, as it will be used.
        prepared: the model's tokenizer and the rows.

    Raises:
        InputError: a finding is fatal; the message holds all of them.
    """
    train, tokens = prepared.rows[TRAIN], prepared.tokens[TRAIN]
    faults = findings.check_rows(tokens, prepared.limits)
    faults += findings.check_template(
        train, has_markers=prepared.has_markers, assistant_only_loss=arguments.training["assistant_only_loss"]
    )
    faults += findings.check_answers(train)
    faults += findings.check_control_tokens(
        train, ControlTokens(prepared.tokenizer).found_in, allowed=arguments.tune.allow_control_tokens
    )
    faults += leaks.of_validation(train, prepared.rows[UNSEEN])
    faults += leaks.of_evaluation(train, arguments.tune.eval_tasks)
    packing = config.packing_strategy if config.packing else None
    faults += findings.check_settings(
        arguments.model,
        merge=arguments.tune.merge,
        packing=packing,
        new_end_token=prepared.new_end_token or prepared.unlearnt_end,
    )
    faults += findings.check_padding(_collator(config, prepared.tokenizer), tokens, prepared.tokenizer.eos_token_id)
    measured = Memory()
    if prepared.size is not None and tokens:
        settings = memory_settings(arguments, config, prepared)
        needed = memory.estimate(prepared.size, settings)
        free, total = memory.device_memory(config.device)
        faults += memory.check_memory(needed, settings, free, total)
        measured = Memory(asdict(needed) | {"total": needed.total}, free, total)
    findings.require(faults)
    return Checked(tuple(faults), measured)


def check_loaded(trainer: Any, prepared: Prepared, checked: Checked) -> Checked:
    """Check real batches of the loaded model; print all findings.

    Args:
        trainer: TRL's.
        prepared: the tokenized rows.
        checked: the findings so far.

    Returns:
        `checked` with the new findings.

    Raises:
        InputError: a finding is fatal; the message holds all of them.
    """
    rows, eos_token_id = prepared.tokens[TRAIN], prepared.tokenizer.eos_token_id
    faults = [*checked.findings, *findings.check_padding(trainer.data_collator, rows, eos_token_id)]
    if prepared.new_end_token or prepared.unlearnt_end:
        trained = trains_token(trainer.model)
        faults += findings.check_new_end(prepared.template.end_token, trained=trained, named=prepared.unlearnt_end)
    if trainer.padding_free:
        faults += _check_packing(trainer, rows)
    if trainer.is_world_process_zero():
        for fault in faults:
            console.print(f"tune: {fault}", markup=False)
    findings.require(faults)
    return Checked(tuple(faults), checked.memory)


def _check_packing(trainer: Any, rows: Sequence[TokenizedRow]) -> list[Finding]:
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        message = (
            "whether packed documents are kept apart cannot be checked under FSDP and DeepSpeed; one process can do it"
        )
        return [Finding("packing_untried", message)]
    tolerance = 1e-5 if trainer.model.dtype.itemsize == 4 and not (trainer.args.bf16 or trainer.args.fp16) else 1e-3
    vocabulary = trainer.model.config.get_text_config().vocab_size
    return findings.check_packing(
        lambda batch: _logits(trainer, batch), trainer.data_collator, rows, tolerance, vocabulary
    )


def memory_settings(arguments: Arguments, config: trl.SFTConfig, prepared: Prepared) -> MemorySettings:
    """Return the settings that decide about memory.

    Args:
        arguments: of the training.
        config: TRL's, as it will be used.
        prepared: the model's configuration and the rows.
    """
    model = arguments.model
    weight_bytes = _dtype(config, prepared.model_config).itemsize
    bits = 4 if model.load_in_4bit else 8 if model.load_in_8bit else None
    adapter_bytes = 2 if bits else 4  # PEFT keeps adapters in float32, TRL those of a quantized model in bfloat16
    lengths = [len(prepared.limits.cut(row.labels)) for row in prepared.tokens[TRAIN]]
    longest = max(lengths)
    sequence = min(config.max_length, sum(lengths)) if config.packing and config.max_length else longest
    fsdp = os.environ.get("ACCELERATE_USE_FSDP") == "true" or bool(config.fsdp)
    zero_stage = getattr(config.deepspeed_plugin, "zero_stage", None)
    return MemorySettings(
        weight_bytes=weight_bytes,
        trained_bytes=adapter_bytes if model.use_peft else weight_bytes,
        compute_bytes=2 if config.bf16 or config.fp16 or weight_bytes == 2 else 4,
        optim=str(getattr(config.optim, "value", config.optim)),
        tokens=config.per_device_train_batch_size * max(sequence, longest),
        longest=longest,
        checkpointing=config.gradient_checkpointing,
        cuda=config.device.type == "cuda",
        bits=bits,
        eager=model.attn_implementation == "eager",
        shards=config.world_size if fsdp or zero_stage == 3 else 1,
        offloaded=fsdp or zero_stage is not None or "paged" in str(config.optim),
    )


def show_example(prepared: Prepared, form: Literal["short", "full", "no"]) -> None:
    """Print the first training row that has a trained token.

    Args:
        prepared: the rows and their tokenizer.
        form: `full`: one line per token; `no`: print nothing.
    """
    rows = (prepared.trained_rows or prepared.tokens[TRAIN]) if form != "no" else ()
    for line in findings.show_row(rows[0], prepared.tokenizer, full=form == "full") if rows else ():
        console.print(line, markup=False, style="green" if f" {findings.TRAINED_MARK} " in line else None)


def _dtype(config: trl.SFTConfig, model_config: Any) -> Any:
    """Return the precision that the model is loaded in."""
    import torch

    dtype = config.model_init_kwargs["dtype"]
    if isinstance(dtype, str) and dtype != "auto":
        return getattr(torch, dtype)
    return dtype if isinstance(dtype, torch.dtype) else (model_config.dtype or torch.float32)


def _collator(config: trl.SFTConfig, tokenizer: Any) -> Any:
    """Return the collator for padded batches that `SFTTrainer` makes of the same arguments."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(tokenizer.pad_token_id, pad_to_multiple_of=config.pad_to_multiple_of)


def _logits(trainer: Any, batch: dict[str, Any]) -> Any:
    """Return the model's predictions for a batch, computed as in training."""
    import torch

    args, model = trainer.args, trainer.model
    inputs = {name: trainer._prepare_input(value) for name, value in batch.items() if name != "labels"}
    half = torch.bfloat16 if args.bf16 else torch.float16
    before = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(args.device.type, half, enabled=args.bf16 or args.fp16):
            return model(**inputs, use_cache=False).logits
    finally:
        model.train(before)
