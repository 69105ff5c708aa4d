"""The pre-flight of one training: TRL's arguments, the rows and the model, put to every check.

What can be known before the model is loaded is found before it is loaded, all of it at once. On the loaded model two
things are tried that no option can promise: what padding does to labels, and whether packed documents see each other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from tuning.training import findings as preflight
from tuning.training import leaks, memory
from tuning.training.data import IGNORE_INDEX, Row, TokenRow
from tuning.training.findings import Finding, Rule

if TYPE_CHECKING:
    from tuning.training.arguments import Parsed


def rule_of(training: Any, tokenizer: Any) -> Rule:
    """What TRL will do to rows that are too long, and what is to end an answer."""
    keeps: Literal["start", "end", "all"] = "end" if training.truncation_mode == "keep_end" else "start"
    if training.packing:
        keeps = "start" if training.packing_strategy == "bfd" else "all"
    return Rule(tokenizer.eos_token_id, tokenizer.eos_token, training.max_length, keeps)


def before_loading(
    parsed: Parsed,
    splits: dict[str, list[Row]],
    tokens: Sequence[TokenRow],
    tokenizer: Any,
    config: Any,
    *,
    has_markers: bool,
) -> tuple[list[Finding], dict[str, Any]]:
    """Findings about rows, template, settings and memory; and the estimate of the memory.

    Args:
        parsed: the arguments.
        splits: the rows as they were exported.
        tokens: the training rows as the model will see them.
        tokenizer: with the template that they were rendered through.
        config: the model's.
        has_markers: whether that template marks what is generated.
    """
    training, model, train = parsed.training, parsed.model, splits["train"]
    rule = rule_of(training, tokenizer)
    findings = preflight.inspect(tokens, rule)
    findings += preflight.template(train, has_markers=has_markers, marked=training.assistant_only_loss)
    findings += leaks.of_validation(train, splits["validation_unseen"])
    findings += leaks.of_evaluation(train, parsed.tune.eval_tasks)
    packing = training.packing_strategy if training.packing else None
    findings += preflight.settings(model, merge=parsed.tune.merge, packing=packing)
    findings += preflight.padding(_collator(training, tokenizer), tokens, tokenizer.eos_token_id)
    shape = _shape(parsed, config)
    if shape is None or not tokens:
        return findings, {}
    plan = plan_of(parsed, config, [len(rule.kept(row.labels)) for row in tokens])
    estimate = memory.estimate(shape, plan)
    free, total = memory.of_machine(training.device)
    findings += memory.finding(estimate, plan, free, total)
    return findings, {"estimate": asdict(estimate) | {"total": estimate.total}, "free": free, "total": total}


def after_loading(trainer: Any, rows: Sequence[TokenRow], end_id: int) -> list[Finding]:
    """Findings about real batches of the loaded model."""
    findings = preflight.padding(trainer.data_collator, rows, end_id)
    if not trainer.padding_free:
        return findings
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        message = "whether packed documents are kept apart cannot be tried under FSDP and DeepSpeed; one process can"
        return [*findings, Finding("packing_untried", message)]
    tolerance = 1e-5 if trainer.model.dtype.itemsize == 4 and not (trainer.args.bf16 or trainer.args.fp16) else 1e-3
    vocabulary = trainer.model.config.get_text_config().vocab_size
    return findings + preflight.documents_apart(
        lambda batch: _logits(trainer, batch), trainer.data_collator, rows, tolerance, vocabulary
    )


def plan_of(parsed: Parsed, config: Any, lengths: Sequence[int]) -> memory.Plan:
    """What of the arguments decides about memory.

    Args:
        parsed: the arguments.
        config: the model's.
        lengths: tokens of each training row, as far as it is kept.
    """
    training, model = parsed.training, parsed.model
    weight_bytes = _dtype(parsed, config).itemsize
    half = training.bf16 or training.fp16
    bits = 4 if model.load_in_4bit else 8 if model.load_in_8bit else None
    adapter_bytes = 2 if bits else 4  # PEFT keeps adapters in float32, TRL those of a quantized model in bfloat16
    longest = max(lengths)
    blocks = min(training.max_length, sum(lengths)) if training.packing and training.max_length else longest
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" or bool(training.fsdp)
    zero = getattr(training.deepspeed_plugin, "zero_stage", None)
    return memory.Plan(
        weight_bytes=weight_bytes,
        trained_bytes=adapter_bytes if model.use_peft else weight_bytes,
        compute_bytes=2 if half or weight_bytes == 2 else 4,
        optim=str(getattr(training.optim, "value", training.optim)),
        tokens=training.per_device_train_batch_size * max(blocks, longest),
        longest=longest,
        checkpointing=training.gradient_checkpointing,
        device=training.device.type if training.device.type == "cuda" else "cpu",
        bits=bits,
        eager=model.attn_implementation == "eager",
        shards=training.world_size if sharded or zero == 3 else 1,
        offloaded=sharded or zero is not None or "paged" in str(training.optim),
    )


def _dtype(parsed: Parsed, config: Any) -> Any:
    """The precision in which the model is loaded."""
    import torch

    given = (parsed.training.model_init_kwargs or {}).get("dtype", parsed.model.dtype)
    if isinstance(given, str) and given != "auto":
        return getattr(torch, given)
    return given if isinstance(given, torch.dtype) else (config.dtype or torch.float32)


def _shape(parsed: Parsed, config: Any) -> memory.Shape | None:
    """The model's shape, or None where it cannot be told: what is wrong with the arguments is then said by TRL."""
    from trl import get_peft_config

    try:
        return memory.shape_of(
            config,
            get_peft_config(parsed.model),
            quantized=parsed.model.load_in_4bit or parsed.model.load_in_8bit,
            trust_remote_code=parsed.training.trust_remote_code,
        )
    except (ValueError, TypeError, AttributeError, KeyError, ImportError, RuntimeError, NotImplementedError):
        return None


def _collator(training: Any, tokenizer: Any) -> Any:
    """The collator that `SFTTrainer` makes of the same arguments for batches that are padded."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(tokenizer.pad_token_id, pad_to_multiple_of=training.pad_to_multiple_of)


def _logits(trainer: Any, batch: dict[str, Any]) -> Any:
    """The model's predictions for a batch, computed as in training."""
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


def example(rows: Sequence[TokenRow]) -> TokenRow | None:
    """The row that is shown: the first from which anything is learnt."""
    return next((row for row in rows if any(label != IGNORE_INDEX for label in row.labels)), rows[0] if rows else None)
