"""The arguments of tuning: all of TRL's `SFTConfig` and `ModelConfig`, and a few of our own.

Each class declares its own arguments. Where the user gives no value, our defaults, which follow the device and the
method, replace TRL's: see `defaults`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import trl  # Loads what is heavy when it is used first.

from selfinstruct.config.load import load_yaml
from selfinstruct.engines.model_facts import experts, read_config
from selfinstruct.errors import ConfigError
from selfinstruct.records import UNSEEN
from tuning.training import tuning_method
from tuning.training.tuning_method import Choice, Device

BEST_METRIC = f"eval_{UNSEEN}_loss"
"""The metric that chooses the checkpoint to keep."""

_SHARING = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""Ways in which accelerate shares a model between processes; its launcher names the way in the environment."""


@dataclass
class TuneArguments:
    """The arguments that TRL does not have."""

    dataset_dir: str = field(metadata={"help": "Folder of the exported dataset: train.jsonl, validation_*.jsonl."})
    prompt_format: Literal["auto", "model", "default", "alpaca", "plain"] = field(
        default="auto",
        metadata={
            "help": "Chat template: `model` uses the model's own; default, alpaca and plain are packaged ones; `auto` "
            "uses the model's own if it has one, else `default`."
        },
    )
    allow_control_tokens: bool = field(
        default=False,
        metadata={
            "help": "Train control tokens of the model that occur in a text (`<|im_end|>`) as such, not as plain text. "
            "The evaluation then asks likewise."
        },
    )
    merge: Literal["adapter", "merged", "both"] = field(
        default="both",
        metadata={"help": "What to save of a LoRA: the adapter, the model merged with it, or both."},
    )
    mix: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Datasets of any family to train on as well, each as PATH or PATH:weight. With weight 0.5 a "
            "dataset adds half as much as the run's own rows have, as far as it reaches; without a weight all it has."
        },
    )
    mix_by: Literal["examples", "tokens"] = field(
        default="examples", metadata={"help": "What these weights count: rows, or their tokens."}
    )
    mix_temperature: float = field(
        default=1.0,
        metadata={
            "help": "The tasks of a mixed dataset are drawn in proportion to (their rows) ** (1 / temperature): 1 as "
            "they are, a larger number more alike."
        },
    )
    mix_task_cap: int | None = field(
        default=None,
        metadata={
            "help": "Most rows of one task of a mixed dataset that count and are drawn; rows without a task's name are "
            "one task."
        },
    )
    mix_hold_out: Literal["task", "category"] | None = field(
        default=None,
        metadata={
            "help": "Keep tasks or whole categories of the mixed datasets out of training, and some questions of the "
            "others, so that `evaluate --held-out-by` can compare unseen with seen ones."
        },
    )
    mix_hold_out_share: float = field(default=0.1, metadata={"help": "Share of them that is held out."})
    mix_most_seen: int | None = field(
        default=None,
        metadata={
            "help": "Train on at most this many of the tasks or categories that are not held out: several tunings show "
            "what more tasks do for unseen ones, which stay the same."
        },
    )
    eval_tasks: list[str] = field(
        default_factory=list,
        metadata={"help": "Task files of the later evaluation: training rows that are too close to them are reported."},
    )
    show_row: Literal["short", "full", "no"] = field(
        default="short",
        metadata={"help": "Print one training row with its trained tokens marked; full: one line per token."},
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after this many evaluations without a lower validation_unseen loss, and keep the best model."
        },
    )
    overwrite: bool = field(default=False, metadata={"help": "Start from scratch, whatever output_dir contains."})


@dataclass(frozen=True)
class Arguments:
    """Parsed arguments.

    Attributes:
        tune: our own.
        model: TRL's, of the model.
        training: arguments of `SFTConfig` by name. `sft_config` makes one of them.
        by_user: the arguments that the user gave, on the command line or in a file.
        choice: of the method; None where none was chosen: on a CPU, and where the model's sizes are not known.
    """

    tune: TuneArguments
    model: trl.ModelConfig
    training: Mapping[str, Any]
    by_user: Mapping[str, Any]
    choice: Choice | None = None

    def sft_config(self, **changes: Any) -> trl.SFTConfig:
        """Make the `SFTConfig`. It sets up devices and processes, so a training makes it only once.

        Args:
            changes: arguments to use in place of the parsed ones.

        Raises:
            ConfigError: TRL refuses an argument.
        """
        with _trl_refuses():
            return trl.SFTConfig(**{**self.training, **changes})


def parse(argv: Sequence[str], device: Device | None = None, planned: Device | None = None) -> Arguments:
    """Parse arguments named as in `SFTConfig` and `ModelConfig`; `--config FILE.yaml` may hold more of them.

    Args:
        argv: the command line.
        device: what the defaults depend on; default: this machine's.
        planned: what the method is chosen for; default: `device`.

    Raises:
        ConfigError: an argument is unknown, missing, or refused by TRL, or no method that they allow fits into the
            GPUs' memory.
    """
    from tuning.training.argument_parser import ArgumentParser, unknown

    device = device or here()
    kinds = (TuneArguments, trl.SFTConfig, trl.ModelConfig)
    parser = ArgumentParser(kinds, prog="python -m tuning.sft", allow_abbrev=False)
    if {"-h", "--help"} & set(argv):
        parser.set_defaults_with_config(**defaults({}, device))
        parser.parse_args(["--help"])  # ends the program
    argv, in_file = _without_config(argv)
    by_user = in_file | parser.explicit(argv)
    if not set(by_user) <= parser.names:
        raise ConfigError("\n".join(unknown(f"--{name}", parser.names) for name in by_user if name not in parser.names))
    _require_finite(by_user)
    config = _model_config(by_user)
    choice = _choose(config, by_user, planned or device)
    chosen = dict(choice.arguments) if choice else _without_choice(config, by_user, planned or device)
    parser.set_defaults_with_config(**(chosen | defaults(chosen | by_user, device) | in_file))
    with _trl_refuses():
        values = vars(parser.parse_args(list(argv)))
        tune = TuneArguments(**_arguments_of(TuneArguments, values))
        model = trl.ModelConfig(**_arguments_of(trl.ModelConfig, values))
    for name in ("output_dir", "model_name_or_path"):
        if not values.get(name):
            raise ConfigError(f"--{name} is missing; give it")
    if tune.mix_task_cap is not None and tune.mix_task_cap < 1:
        raise ConfigError(f"--mix_task_cap must be at least 1, got {tune.mix_task_cap}")
    if tune.mix_temperature < 0.1:
        raise ConfigError(f"--mix_temperature must be at least 0.1, got {tune.mix_temperature}")
    if not 0 < tune.mix_hold_out_share < 1:
        raise ConfigError(f"--mix_hold_out_share must lie in (0, 1), got {tune.mix_hold_out_share}")
    if tune.mix_hold_out and not tune.mix:
        raise ConfigError(f"--mix_hold_out {tune.mix_hold_out}: no dataset is mixed in; name one with --mix")
    if tune.mix_most_seen is not None and tune.mix_most_seen < 1:
        raise ConfigError(f"--mix_most_seen must be at least 1, got {tune.mix_most_seen}")
    if tune.mix_most_seen is not None and not tune.mix_hold_out:
        raise ConfigError(f"--mix_most_seen {tune.mix_most_seen}: nothing is held out; add --mix_hold_out task")
    if "merge" in by_user and not model.use_peft:
        raise ConfigError(f"--merge {tune.merge}: full fine-tuning makes no adapter; add --use_peft or remove --merge")
    return Arguments(tune, model, _arguments_of(trl.SFTConfig, values), by_user, choice)


def _require_finite(by_user: Mapping[str, Any]) -> None:
    for name, value in by_user.items():
        # The gradient's norm may have no bound: it is then measured alone.
        bounded = isinstance(value, float) and (name, value) != ("max_grad_norm", math.inf)
        if bounded and not math.isfinite(value):
            raise ConfigError(f"--{name} must be a finite number, got {value}")


def here() -> Device:
    """Return this machine, and the place of this process in a distributed training."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    cuda = torch.cuda.is_available()
    return Device(
        cuda=cuda,
        bf16=cuda and torch.cuda.is_bf16_supported(),
        memory=min((torch.cuda.mem_get_info(i)[1] for i in range(torch.cuda.device_count())), default=0) if cuda else 0,
        processes=int(os.environ.get("WORLD_SIZE", "1")),
        shared={"true", "1"} & {os.environ.get(f"ACCELERATE_USE_{kind}", "").lower() for kind in _SHARING} != set(),
        bitsandbytes=importlib.util.find_spec("bitsandbytes") is not None,
        varlen_attention=cuda and is_flash_attn_2_available(),
    )


_UNREADABLE = (ConfigError, OSError, ValueError, TypeError, AttributeError, KeyError, ImportError, RuntimeError)
"""What is wrong with the model, or with an argument, is said where it is loaded or made."""


def _model_config(by_user: Mapping[str, Any]) -> Any:
    """Return the configuration of the model that is tuned; None where it cannot be read."""
    if not by_user.get("model_name_or_path"):
        return None
    trusts, revision = bool(by_user.get("trust_remote_code")), by_user.get("model_revision")
    try:
        return read_config(str(by_user["model_name_or_path"]), revision, trust_remote_code=trusts)
    except _UNREADABLE:
        return None


def _choose(config: Any, by_user: Mapping[str, Any], device: Device) -> Choice | None:
    """Choose the method by the model's configuration; None on a CPU, and where the model cannot be sized."""
    if config is None or not device.cuda or not device.memory or by_user.get("use_cpu"):
        return None
    adapter = {name: by_user[name] for name in _arguments_in(trl.ModelConfig) if name in by_user}
    trusts = bool(by_user.get("trust_remote_code"))
    try:
        sizes = tuning_method.sizes_of(config, {**adapter, "use_peft": True}, trust_remote_code=trusts)
    except _UNREADABLE:
        return None
    return tuning_method.choose(sizes, by_user, device)


def _without_choice(config: Any, by_user: Mapping[str, Any], device: Device) -> dict[str, Any]:
    """Return the defaults that follow from model and machine where no method is chosen."""
    arguments: dict[str, Any] = {}
    if device.processes > 1:  # TRL's defaults are for each process: a step would have more rows with more of them.
        rows, times = tuning_method.largest_batch(by_user, device)
        arguments |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": times}
    if config is not None and by_user.get("use_peft") and experts(config) > 1:
        arguments |= tuning_method.OF_EXPERTS
    return arguments


def defaults(by_user: Mapping[str, Any], device: Device) -> dict[str, Any]:
    """Return our defaults where they differ from TRL's. A value that the user gives replaces them later.

    The learning rate and `max_length` also depend on the model: see `prepare.py`.

    Args:
        by_user: the user's arguments, and those of the chosen method: some defaults follow from others.
        device: where the training runs.
    """
    cuda = device.cuda and not by_user.get("use_cpu")
    evaluation = str(by_user.get("eval_strategy", "steps"))
    interval = by_user.get("eval_steps", by_user.get("save_steps", 0.2))  # below 1: a share of all steps
    ours: dict[str, Any] = {
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,  # a share of all steps
        "lora_target_modules": tuning_method.LORA["lora_target_modules"],
        "eval_strategy": evaluation,
        "eval_steps": interval,
        "eval_on_start": evaluation != "no",  # measures the base model's loss
        "save_strategy": "steps" if evaluation == "no" else evaluation,
        "save_steps": interval,
        "save_total_limit": 2,
        "logging_steps": 5,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # it hides the losses that must stop the training
        "disable_tqdm": True,  # `callbacks.ShowProgress` shows the progress
        "report_to": "none",
    }
    if by_user.get("load_best_model_at_end", _can_keep_best(by_user, ours)):
        ours |= {"load_best_model_at_end": True, "metric_for_best_model": BEST_METRIC}
    if cuda:
        full_precision = by_user.get("fp16") or not device.bf16
        ours["bf16"] = not full_precision
        if by_user.get("use_peft") and not full_precision:
            ours["dtype"] = "bfloat16"  # enough for frozen weights; PEFT keeps the adapter's in float32
    else:
        ours |= {"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    return ours


def _can_keep_best(by_user: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Return whether every checkpoint follows an evaluation, so that the trainer can load the best one at the end."""
    value = {
        name: by_user.get(name, ours[name]) for name in ("eval_strategy", "save_strategy", "eval_steps", "save_steps")
    }
    if value["eval_strategy"] == "no" or value["save_strategy"] not in (value["eval_strategy"], "best"):
        return False
    try:
        save, evaluate = float(value["save_steps"]), float(value["eval_steps"])
        multiple = round(save / evaluate, 6)
    except (ValueError, TypeError, ZeroDivisionError):
        return True  # TRL's own message says what is wrong.
    return value["eval_strategy"] != "steps" or (multiple.is_integer() and (save < 1) == (evaluate < 1))


def learning_rate(num_parameters: int, *, lora: bool) -> float:
    """Return a peak learning rate for a model of this size: 2e-5 from a billion parameters on, more for smaller ones.

    Small models need larger steps: 1e-3 is usual at ten million parameters. A LoRA is trained with ten times the rate
    of full fine-tuning, up to 2e-3.

    Args:
        num_parameters: of the whole model.
        lora: whether only an adapter is trained.
    """
    full = min(1e-3, 2e-5 * max(1.0, (1e9 / max(num_parameters, 1)) ** 0.75))
    return float(f"{min(2e-3, 10 * full) if lora else full:.2g}")


@contextlib.contextmanager
def _trl_refuses() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, ImportError, OSError) as error:
        raise ConfigError(f"TRL refuses the arguments: {error}") from error


def _arguments_of(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in _arguments_in(cls)}


def _arguments_in(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls) if f.init]


def _without_config(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return `argv` without `--config FILE`, and the arguments in that file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    namespace, rest = parser.parse_known_args(list(argv))
    if namespace.config is None:
        return rest, {}
    return rest, load_yaml(Path(namespace.config))
