"""The arguments of tuning: a few of our own beside all of TRL's `SFTConfig` and `ModelConfig`.

Each class declares and validates its arguments itself. Where the user has said nothing, defaults that suit the machine
and the method stand in for TRL's: see `defaults`.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trl import ModelConfig, SFTConfig, TrlParser

from selfinstruct.errors import ConfigError

BEST = "eval_validation_unseen_loss"
"""The metric by which the checkpoint that is kept is chosen."""


@dataclass
class TuneArguments:
    """Arguments that TRL does not have."""

    dataset_dir: str = field(metadata={"help": "Folder of the exported dataset: train.jsonl, validation_*.jsonl."})
    prompt_format: Literal["auto", "model", "default", "alpaca", "plain"] = field(
        default="auto",
        metadata={"help": "Chat template: the model's own, or one of this package; auto: its own when it has one."},
    )
    merge: Literal["adapter", "merged", "both"] = field(
        default="both",
        metadata={"help": "What is kept of a LoRA: the adapter, whole weights with the adapter in them, or both."},
    )
    eval_tasks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Files of the tasks that the model will be evaluated on: training rows are held against them."
        },
    )
    show_row: Literal["short", "full", "no"] = field(
        default="short",
        metadata={"help": "Print a training row with what is learnt marked; full: every token on a line of its own."},
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after this many evaluations without a lower validation_unseen loss; keep the best."},
    )
    overwrite: bool = field(default=False, metadata={"help": "Start anew, whatever is in output_dir."})


@dataclass(frozen=True)
class Parsed:
    """Validated arguments, and the names of those that the user gave."""

    tune: TuneArguments
    training: SFTConfig
    model: ModelConfig
    given: dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """What the defaults depend on."""

    cuda: bool
    bf16: bool

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        import torch

        cuda = torch.cuda.is_available()
        return cls(cuda, cuda and torch.cuda.is_bf16_supported())


def parse(argv: Sequence[str], machine: Machine | None = None) -> Parsed:
    """Arguments as `SFTConfig` and `ModelConfig` read them, by their own names; `--config FILE.yaml` holds more.

    Raises:
        ConfigError: an argument is unknown, missing or refused by its owner.
    """
    parser = _Parser((TuneArguments, SFTConfig, ModelConfig), prog="python -m tuning.sft", allow_abbrev=False)
    if {"-h", "--help"} & set(argv):
        parser.set_defaults_with_config(**defaults({}, machine or Machine.here()))
        parser.parse_args(["--help"])  # ends the program
    argv, in_file = _without_config(argv)
    given = in_file | parser.given(argv)
    unknown = [name for name in given if name not in parser.names]
    if unknown:
        raise ConfigError("\n".join(_unknown(f"--{name}", parser.names) for name in unknown))
    parser.set_defaults_with_config(**(defaults(given, machine or Machine.here()) | in_file))
    try:
        tune, training, model = parser.parse_args_into_dataclasses(list(argv), look_for_args_file=False)
    except (ValueError, TypeError, KeyError, ImportError, OSError) as error:
        raise ConfigError(f"TRL refuses the arguments: {error}") from error
    for name, value in (("output_dir", given.get("output_dir")), ("model_name_or_path", model.model_name_or_path)):
        if not value:
            raise ConfigError(f"--{name} is missing; give it")
    if "merge" in given and not model.use_peft:
        raise ConfigError(f"--merge {tune.merge}: full fine-tuning makes no adapter; give --use_peft, or leave it out")
    return Parsed(tune, training, model, given)


def defaults(given: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Our defaults where they differ from TRL's; what was given goes before them.

    The learning rate and `max_length` also depend on the model: see `learning_rate` and `sft.py`.
    """
    cuda = machine.cuda and not given.get("use_cpu")
    evaluation = str(given.get("eval_strategy", "steps"))
    interval = given.get("eval_steps", given.get("save_steps", 0.2))  # of all steps
    ours: dict[str, Any] = {
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,  # of all steps
        "lora_target_modules": ["all-linear"],
        "eval_strategy": evaluation,
        "eval_steps": interval,
        "eval_on_start": evaluation != "no",  # so that the base model's loss is known
        "save_strategy": "steps" if evaluation == "no" else evaluation,
        "save_steps": interval,
        "save_total_limit": 2,
        "logging_steps": 5,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # it hides what is to stop the run
        "disable_tqdm": True,  # progress is shown by `monitor.py`
        "report_to": "none",
    }
    if given.get("load_best_model_at_end", _can_keep_best(given, ours)):
        ours |= {"load_best_model_at_end": True, "metric_for_best_model": BEST}
    if cuda:
        precise = given.get("fp16") or not machine.bf16
        ours["bf16"] = not precise
        if given.get("use_peft") and not precise:
            ours["dtype"] = "bfloat16"  # the frozen weights need no more; PEFT keeps the adapter's in float32
    else:
        ours |= {"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "dataloader_pin_memory": False}
    return ours


def _can_keep_best(given: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether every checkpoint is of a step that is evaluated: the trainer can only go back to such a one."""
    value = {
        name: given.get(name, ours[name]) for name in ("eval_strategy", "save_strategy", "eval_steps", "save_steps")
    }
    if value["eval_strategy"] == "no" or value["save_strategy"] not in (value["eval_strategy"], "best"):
        return False
    try:
        save, evaluate = float(value["save_steps"]), float(value["eval_steps"])
        multiple = round(save / evaluate, 6)
    except (ValueError, TypeError, ZeroDivisionError):
        return True  # TRL says what is wrong with it.
    return value["eval_strategy"] != "steps" or (multiple.is_integer() and (save < 1) == (evaluate < 1))


def learning_rate(num_parameters: int, *, lora: bool) -> float:
    """A peak learning rate for a model of this size: 2e-5 from a billion parameters on, more for smaller ones.

    Small models bear, and need, larger steps: 1e-3 is usual at ten million parameters. An adapter takes ten times as
    much as full fine-tuning, up to 2e-3.
    """
    full = min(1e-3, 2e-5 * max(1.0, (1e9 / max(num_parameters, 1)) ** 0.75))
    return float(f"{min(2e-3, 10 * full) if lora else full:.2g}")


class _Parser(TrlParser):
    """TRL's parser, with errors for people, `none` for what may be absent, and several values for `report_to`."""

    def __init__(self, dataclass_types: Sequence[type], **options: Any) -> None:
        super().__init__(dataclass_types, **options)
        self.names = {f.name for cls in dataclass_types for f in dataclasses.fields(cls) if f.init}
        optional = {
            name for cls in dataclass_types for name, hint in typing.get_type_hints(cls).items() if _maybe_absent(hint)
        }
        optional.discard("report_to")  # whose value `none` is its own
        for action in self._actions:
            if action.dest in optional and callable(action.type):
                action.type = _or_none(action.type)
            if action.dest == "report_to":
                action.nargs = "+"

    def error(self, message: str) -> typing.NoReturn:
        raise ConfigError(f"{message}; `python -m tuning.sft --help` lists all arguments")

    def given(self, argv: Sequence[str]) -> dict[str, Any]:
        """The arguments that stand in `argv`, without any default."""
        before = [(action, action.default, action.required) for action in self._actions]
        for action in self._actions:
            action.default, action.required = argparse.SUPPRESS, False
        try:
            namespace, rest = self.parse_known_args(list(argv))
        finally:
            for action, default, required in before:
                action.default, action.required = default, required
        if rest:
            raise ConfigError(_unknown(rest[0], self.names))
        return vars(namespace)


def _without_config(argv: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """`argv` without `--config FILE`, and what the file says."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    found, rest = finder.parse_known_args(list(argv))
    if found.config is None:
        return rest, {}
    from selfinstruct.config.load import load_yaml

    return rest, load_yaml(Path(found.config))


def _unknown(option: str, names: set[str]) -> str:
    if not option.startswith("-"):
        return f"{option!r} belongs to no argument; values follow their argument: --name value"
    name = option.lstrip("-").partition("=")[0].replace("-", "_")
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean --{near[0]}?" if near else "see --help for all of SFTConfig's and ModelConfig's"
    return f"--{name}: TRL knows no such argument; {remedy}"


def _maybe_absent(hint: Any) -> bool:
    """Whether a type is `X | None`."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        return None if text.lower() in ("none", "null") else kind(text)

    convert.__name__ = getattr(kind, "__name__", "value")  # argparse names it: invalid float value
    return convert
