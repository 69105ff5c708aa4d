"""The last step of a training: write the tuned model, with its template and end token, as safetensors.

    --merge both      model/ holds whole weights, model/adapter/ the adapter alone
    --merge merged    model/ holds whole weights
    --merge adapter   model/ holds the adapter alone, which is loaded together with its base model

Full fine-tuning has no adapter: `model/` holds whole weights. In each case `generation_config.json` and the tokenizer
name the token that ends an answer, so that `vllm serve` stops there.

All is written into `model/.new` first. Only a whole new model takes the place of the one that was there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

from selfinstruct.engines import chat_templates
from selfinstruct.errors import SelfInstructError
from selfinstruct.formats import jsonl
from tuning.training.prepare import BaseModel, in_16_bits
from tuning.training.zero3 import whole_models

ADAPTER = "adapter"
_NEW = ".new"
_CONFIGURATIONS = ("config.json", "adapter_config.json")
Merge = Literal["adapter", "merged", "both"]


def save(trainer: Any, tokenizer: Any, output_dir: Path, *, base: BaseModel, merge: Merge) -> None:
    """Write the finished model to `output_dir`, in place of an earlier model there.

    Every process of a distributed training calls this. If it fails, the earlier model is as it was.

    Args:
        trainer: after training.
        tokenizer: with the template and the special tokens of the training.
        output_dir: where `AutoModelForCausalLM.from_pretrained` will look.
        base: the model that was tuned; it is loaded again to merge the adapter into it.
        merge: what is kept of a LoRA.

    Raises:
        SelfInstructError: the trainer wrote no weights.
    """
    main, new = trainer.is_world_process_zero(), output_dir / _NEW
    if main:
        shutil.rmtree(new, ignore_errors=True)  # Of a save that was killed.
    trainer.accelerator.wait_for_everyone()
    try:
        _write(trainer, tokenizer, new, base=base, merge=merge)
        if main:
            put_in_place(new, output_dir)
    finally:
        if main:
            shutil.rmtree(new, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()


def _write(trainer: Any, tokenizer: Any, folder: Path, *, base: BaseModel, merge: Merge) -> None:
    """Write the finished model to a new folder; the arguments are those of `save`."""
    from peft import PeftModel

    main = trainer.is_world_process_zero()
    if trainer.is_fsdp_enabled:  # FSDP2 keeps weights in parts; of those `save_model` would write no model.
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
        adapter = folder if merge == "adapter" else folder / ADAPTER
        _save(trainer, adapter)
        if main:
            _write_generation_config(adapter, tokenizer, base)
            if merge != "adapter":
                merged = merged_model(base, adapter)
                set_special_tokens(merged, tokenizer)
                merged.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
            if merge == "merged":
                shutil.rmtree(adapter)
    else:
        if not trainer.is_deepspeed_enabled and trainer.is_fsdp_enabled == trainer.accelerator.is_fsdp2:
            # A model that is trained in float32 is saved in its base's precision: twice the size would add nothing.
            # (The weights of ZeRO and FSDP1 are flat pieces, whose precision cannot change.)
            trainer.model.to(dtype_of(base))
        set_special_tokens(trainer.model, tokenizer)
        _save(trainer, folder)
    if main:
        _share(folder)


def put_in_place(new: Path, folder: Path) -> None:
    """Move the files of a model from `new` into `folder`, in place of the model that is there.

    A model's configuration is removed first and moved last: a folder that is half changed loads as no model.
    """
    for path in filter(Path.is_file, new.rglob("*")):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    for name in _CONFIGURATIONS:
        (folder / name).unlink(missing_ok=True)
    _discard(folder)
    for path in sorted(new.iterdir(), key=lambda path: path.name in _CONFIGURATIONS):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    new.rmdir()
    jsonl.fsync_directory(folder)


def set_special_tokens(model: Any, tokenizer: Any) -> None:
    """Make generation end at the tokenizer's end token, and at those that the model already stops at."""
    model.config.get_text_config().eos_token_id = tokenizer.eos_token_id
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        _end_at(model.generation_config, tokenizer)


def _end_at(generation_config: Any, tokenizer: Any) -> None:
    end, known = tokenizer.eos_token_id, generation_config.eos_token_id
    others = [i for i in (known if isinstance(known, list) else [known]) if i is not None and i != end]
    generation_config.eos_token_id = [end, *others] if others else end
    generation_config.pad_token_id = tokenizer.pad_token_id


def _write_generation_config(adapter: Path, tokenizer: Any, base: BaseModel) -> None:
    """Write what vLLM's --generation-config reads; an adapter's folder has no model configuration."""
    generation_config = chat_templates.read_generation_config(base.source, **base.options)
    _end_at(generation_config, tokenizer)
    generation_config.save_pretrained(adapter)


def _discard(folder: Path) -> None:
    """Remove the files of an earlier model, which could be loaded in place of the new one."""
    shutil.rmtree(folder / ADAPTER, ignore_errors=True)
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]:
        path.unlink()
    (folder / "generation_config.json").unlink(missing_ok=True)


def _save(trainer: Any, folder: Path) -> None:
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        if not any(folder.glob("*.safetensors")):
            raise SelfInstructError(
                f"tune: the trainer wrote no weights to {folder}; the last checkpoint is in {trainer.args.output_dir}. "
                "Under FSDP or DeepSpeed, set the option that gathers the whole model when it is saved"
            )
        # A pickle of all arguments, which may include a secret token. training.json has what is needed.
        (folder / "training_args.bin").unlink(missing_ok=True)
        if (card := folder / "README.md").exists() and (folder / "adapter_config.json").exists():
            card.unlink()  # PEFT's, a form that is not filled in


def _share(folder: Path) -> None:
    """Give every file the permissions of the user's umask: safetensors are written for their owner alone."""
    os.umask(mask := os.umask(0))
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o666 & ~mask)


def merged_model(base: BaseModel, adapter: Path) -> Any:
    """Return the base model merged with the saved adapter, in the base's own precision, on the CPU.

    It is made from the files and not from the trained model, which may be quantized or spread over several devices.
    """
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    loaded_as = in_16_bits(AutoConfig.from_pretrained(base.source, **base.options))
    with whole_models():
        model = AutoModelForCausalLM.from_pretrained(base.source, dtype="auto", **base.options, **loaded_as)
    return PeftModel.from_pretrained(model, os.fspath(adapter)).merge_and_unload()


def dtype_of(base: BaseModel) -> Any:
    """Return the precision in which the model is saved: its own, where that has 16 bits, else float32."""
    import torch
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(base.source, **base.options).dtype
    return dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32
