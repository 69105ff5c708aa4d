"""The tuned model as files: whole weights that load plainly, with the template and the end token of its tuning."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

ADAPTER = "adapter"


def save(trainer: Any, tokenizer: Any, output_dir: Path, *, source: str, load: dict[str, Any]) -> None:
    """Write the finished model to `output_dir`; with LoRA its merged weights there and the adapter in `adapter/`.

    Every process of a distributed training calls this.

    Args:
        trainer: after training.
        tokenizer: with template and special tokens as tuned.
        output_dir: where `AutoModelForCausalLM.from_pretrained` will look.
        source: path or name of the base model.
        load: how the base is loaded again (revision, trust_remote_code), to be merged with the adapter.
    """
    from peft import PeftModel

    if isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
        _save(trainer, output_dir / ADAPTER)
        if trainer.is_world_process_zero():
            merged = _merged(source, output_dir / ADAPTER, load)
            set_special_tokens(merged, tokenizer)
            merged.save_pretrained(output_dir)
            tokenizer.save_pretrained(output_dir)
    else:
        if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
            # Trained in float32, a model goes back to the precision that it came in: twice the size would add nothing.
            trainer.model.to(_dtype_of(source, load))
        set_special_tokens(trainer.model, tokenizer)
        _save(trainer, output_dir)
        if trainer.is_world_process_zero():
            shutil.rmtree(output_dir / ADAPTER, ignore_errors=True)  # an earlier tuning's
    if trainer.is_world_process_zero():
        _share(output_dir)
    trainer.accelerator.wait_for_everyone()


def set_special_tokens(model: Any, tokenizer: Any) -> None:
    """Have generation end at the tokenizer's end token, besides those that the model already stops at."""
    end = tokenizer.eos_token_id
    model.config.get_text_config().eos_token_id = end
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        known = model.generation_config.eos_token_id
        others = [i for i in (known if isinstance(known, list) else [known]) if i is not None and i != end]
        model.generation_config.eos_token_id = [end, *others] if others else end
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def _save(trainer: Any, folder: Path) -> None:
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        # A pickle of all arguments, which may hold a token; training.json says what there is to know.
        (folder / "training_args.bin").unlink(missing_ok=True)


def _share(folder: Path) -> None:
    """Give every file the permissions that the user's umask grants: safetensors are written for their owner alone."""
    os.umask(mask := os.umask(0))
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o666 & ~mask)


def _merged(source: str, adapter: Path, load: dict[str, Any]) -> Any:
    """The base model with the saved adapter in its weights, in the base's own precision, on the CPU.

    From the files rather than from the trained model: that one may be quantized or spread over several devices.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(source, dtype="auto", **load)
    return PeftModel.from_pretrained(base, os.fspath(adapter)).merge_and_unload()


def _dtype_of(source: str, load: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(source, **load).dtype
    return dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32
