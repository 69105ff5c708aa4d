"""The tuned model as files, with the template and the end token of its tuning; safetensors only.

    --merge both      model/ holds whole weights, model/adapter/ the adapter alone
    --merge merged    model/ holds whole weights
    --merge adapter   model/ holds the adapter alone, which is loaded beside its base model

Full fine-tuning has no adapter: `model/` holds whole weights. In each case `generation_config.json` and the tokenizer
name the token that ends an answer, so that `vllm serve` stops there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

from selfinstruct.errors import SelfInstructError
from tuning.training.zero3 import whole_models

ADAPTER = "adapter"
Merge = Literal["adapter", "merged", "both"]


def save(trainer: Any, tokenizer: Any, output_dir: Path, *, source: str, load: dict[str, Any], merge: Merge) -> None:
    """Write the finished model to `output_dir`, in place of whatever model is there.

    Every process of a distributed training calls this.

    Args:
        trainer: after training.
        tokenizer: with template and special tokens as tuned.
        output_dir: where `AutoModelForCausalLM.from_pretrained` will look.
        source: path or name of the base model.
        load: how the base is loaded again (revision, trust_remote_code), to be merged with the adapter.
        merge: what is kept of a LoRA.
    """
    from peft import PeftModel

    main = trainer.is_world_process_zero()
    if trainer.is_fsdp_enabled:  # Left in parts, as FSDP2 keeps it, `save_model` would write no model at all.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if main:
        _discard(output_dir)
    trainer.accelerator.wait_for_everyone()
    if isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
        adapter = output_dir if merge == "adapter" else output_dir / ADAPTER
        _save(trainer, adapter)
        if main:
            _write_generation_config(adapter, tokenizer, source, load)
            if merge != "adapter":
                merged = _merged(source, adapter, load)
                set_special_tokens(merged, tokenizer)
                merged.save_pretrained(output_dir)
                tokenizer.save_pretrained(output_dir)
            if merge == "merged":
                shutil.rmtree(adapter)
    else:
        if not trainer.is_deepspeed_enabled and trainer.is_fsdp_enabled == trainer.accelerator.is_fsdp2:
            # Trained in float32, a model goes back to the precision that it came in: twice the size would add nothing.
            # (ZeRO's and FSDP1's weights are flat pieces, which cannot change theirs.)
            trainer.model.to(_dtype_of(source, load))
        set_special_tokens(trainer.model, tokenizer)
        _save(trainer, output_dir)
    if main:
        _share(output_dir)
    trainer.accelerator.wait_for_everyone()


def set_special_tokens(model: Any, tokenizer: Any) -> None:
    """Have generation end at the tokenizer's end token, besides those that the model already stops at."""
    model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        _end_at(model.generation_config, tokenizer)


def _end_at(generation_config: Any, tokenizer: Any) -> None:
    end, known = tokenizer.eos_token_id, generation_config.eos_token_id
    others = [i for i in (known if isinstance(known, list) else [known]) if i is not None and i != end]
    generation_config.eos_token_id = [end, *others] if others else end
    generation_config.pad_token_id = tokenizer.pad_token_id


def _write_generation_config(adapter: Path, tokenizer: Any, source: str, load: dict[str, Any]) -> None:
    """An adapter has no model's configuration beside it: this is what vLLM's --generation-config reads."""
    from transformers import AutoConfig, GenerationConfig

    try:
        generation_config = GenerationConfig.from_pretrained(source, revision=load.get("revision"))
    except OSError:  # The base model has none of its own.
        generation_config = GenerationConfig.from_model_config(AutoConfig.from_pretrained(source, **load))
    _end_at(generation_config, tokenizer)
    generation_config.save_pretrained(adapter)


def _discard(folder: Path) -> None:
    """Remove an earlier tuning's model: one that lay beside this one would be loaded in its place."""
    shutil.rmtree(folder / ADAPTER, ignore_errors=True)
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
        path.unlink()
    for name in ("config.json", "generation_config.json", "adapter_config.json"):
        (folder / name).unlink(missing_ok=True)


def _save(trainer: Any, folder: Path) -> None:
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        if not any(folder.glob("*.safetensors")):
            raise SelfInstructError(
                f"tune: the trainer wrote no weights to {folder}; the last checkpoint is in {trainer.args.output_dir}. "
                "Under FSDP or DeepSpeed, have the whole model gathered when it is saved"
            )
        # A pickle of all arguments, which may hold a token; training.json says what there is to know.
        (folder / "training_args.bin").unlink(missing_ok=True)
        if (card := folder / "README.md").exists() and (folder / "adapter_config.json").exists():
            card.unlink()  # PEFT's, a form that nobody has filled in


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

    with whole_models():
        base = AutoModelForCausalLM.from_pretrained(source, dtype="auto", **load)
    return PeftModel.from_pretrained(base, os.fspath(adapter)).merge_and_unload()


def _dtype_of(source: str, load: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(source, **load).dtype
    return dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32
