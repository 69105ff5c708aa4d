"""Fine-tune a model on an exported dataset with TRL.

    python -m tuning.sft --model_name_or_path MODEL --dataset_dir RUN/dataset --output_dir RUN/model
    accelerate launch --num_processes 8 -m tuning.sft ...

Any argument of TRL's `SFTConfig` and `ModelConfig` may follow by its own name. The same command again continues a
training that was stopped. Files: see `checkpoints.py`; what was done: see `record.py`.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from selfinstruct.config.environment import EXIT_CODE_FILE
from selfinstruct.console import console
from selfinstruct.errors import SelfInstructError
from tuning.training import data, inspection
from tuning.training import findings as preflight
from tuning.training.trainer import Training


def main(argv: Sequence[str] | None = None) -> int:
    """Tune as `argv` says; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = _debug(arguments)
    set_environment(debug)
    try:
        tune(arguments)
    except SelfInstructError as error:
        if debug:
            traceback.print_exc()
        if _is_first(error.exit_code):
            console.print(str(error), markup=False, style="red")
        return error.exit_code
    except KeyboardInterrupt:
        _is_first(130)
        return 130
    except Exception as error:  # noqa: BLE001 - the edge of the program: a traceback only when it is wanted
        if debug:
            traceback.print_exc()
        _is_first(1)
        console.print(f"tune: {type(error).__name__}: {error}\n--debug shows where", markup=False, style="red")
        return 1
    return 0


def tune(argv: Sequence[str]) -> None:
    """Tune a model; the arguments are those of the command line.

    Raises:
        ConfigError: an argument cannot be used, or the model cannot be loaded.
        InputError: the dataset is broken or holds nothing to learn, or the loss was no longer a number.
        StoppedError: a signal came, or the memory did not suffice; the same command continues.
    """
    from tuning.training.arguments import parse

    parsed = parse(argv)
    job = Training(parsed)
    splits = data.load_splits(Path(parsed.tune.dataset_dir))
    job.notes["rows"] = {split: len(rows) for split, rows in splits.items()}
    identity = job.identity(splits)
    if job.is_done(identity):
        if job.main:
            console.print(f"tune: {job.output_dir} is already tuned with these settings (--overwrite tunes anew)")
        return
    tokenizer, template = job.tokenizer()
    tokens = {split: job.tokenize(rows, tokenizer) for split, rows in splits.items()}
    findings = job.inspect(splits, tokens, tokenizer)
    trainer = job.trainer(tokenizer, tokens, splits)
    findings += inspection.after_loading(trainer, tokens["train"], tokenizer.eos_token_id)
    if job.main:
        for found in findings:
            console.print(f"tune: {found}", markup=False)
    preflight.require(findings)
    job.begin(trainer, template, findings, tokens["train"])
    with job.recorded(identity, trainer):
        job.train(trainer)
        from tuning.training.save import save

        save(trainer, tokenizer, job.output_dir, source=job.source, load=job.load, merge=parsed.tune.merge)
    job.finish(trainer)


def _is_first(code: int) -> bool:
    """Whether this process is the one that says what is wrong: of several, the first to fail.

    It leaves the exit code for whoever launched the launcher. Without such a file the main process speaks.
    """
    if (path := os.environ.get(EXIT_CODE_FILE)) is None:
        return os.environ.get("RANK", "0") == "0"
    try:
        with Path(path).open("x") as stream:
            stream.write(str(code))
    except FileExistsError:
        return False
    return True


def _debug(arguments: list[str]) -> bool:
    """Whether tracebacks are wanted; takes a bare `--debug` out (with a value it is an argument of `SFTConfig`)."""
    for place, argument in enumerate(arguments):
        if argument == "--debug" and (place + 1 == len(arguments) or arguments[place + 1].startswith("--")):
            del arguments[place]
            return True
    return os.environ.get("SELFINSTRUCT_DEBUG", "") not in ("", "0")


def set_environment(debug: bool) -> None:
    """What the libraries read when they are imported; leaves stderr to what a person can act on."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # On CPU, threads that wait spin by default, and starve each other as soon as anything else runs: 0.5 instead of
    # 2.8 steps/s with the demo model on 2 busy cores. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if debug:
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    for name in ("trl", "accelerate", "datasets", "huggingface_hub", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
