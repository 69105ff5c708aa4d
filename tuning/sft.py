"""Fine-tune a model on an exported dataset with TRL.

    python -m tuning.sft --model_name_or_path MODEL --dataset_dir RUN/dataset --output_dir RUN/model
    accelerate launch --num_processes 8 -m tuning.sft ...

Any argument of TRL's `SFTConfig` and `ModelConfig` may follow by its own name. The same command again continues a
training that was stopped. Files: see `training/checkpoints.py`; the record of what was done: see
`selfinstruct/run/training_record.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfinstruct import library_log
from selfinstruct.console import console, is_verbose
from selfinstruct.environment import DEBUG_VARIABLE, LOCKS
from selfinstruct.program_edge import debugging, run_program
from selfinstruct.run import trackers
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import ModelDirectory
from tuning.training.launch import FSDP2, refuse_own_source

if TYPE_CHECKING:
    from tuning.training.arguments import Arguments

_LOGGERS = ("trl", "accelerate", "datasets", "huggingface_hub", "torch.distributed")


def main(argv: Sequence[str] | None = None) -> int:
    """Tune a model as `argv` says, and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if _take_debug(arguments):
        os.environ[DEBUG_VARIABLE] = "1"
    set_environment(debug=debugging() or is_verbose())
    return run_program(lambda: tune(arguments), prefix="")


@contextlib.contextmanager
def locking_run(output: Path) -> Iterator[None]:
    """Hold the lock of the run whose model is trained. A stage of a chain has it already.

    Args:
        output: folder of the model; where it is in no run, nothing is locked.

    Raises:
        RunLockedError: another process writes the run.
    """
    run = RunDirectory(output.resolve().parent)
    is_main = os.environ.get("RANK", "0") == "0"
    locks = is_main and LOCKS not in os.environ and run.journal.is_file()
    with run.locked() if locks else contextlib.nullcontext():
        if run.journal.is_file():
            library_log.begin(run.library_log, "tune")
            _hear_libraries()
        yield


def tune(argv: Sequence[str]) -> None:
    """Tune a model as a command line says.

    Raises:
        ConfigError: an argument cannot be used, or the model cannot be loaded.
        InputError: the dataset is invalid or has nothing to train on, or the training diverged.
        StoppedError: the memory is too small.
        RunLockedError: another process writes the run that the model belongs to.
        Interrupted: a signal came; the same command continues.
    """
    started = time.monotonic()
    from tuning.training.arguments import parse

    arguments = parse(argv)
    with locking_run(Path(arguments.training["output_dir"])):
        _tune(arguments, started)


def _tune(arguments: Arguments, started: float) -> None:
    # What these import is slow to load, and reads the environment that `main` has set.
    from tuning.training import checkpoints, data, model_card, record
    from tuning.training.check import check, check_loaded, show_example
    from tuning.training.mixing import mixed
    from tuning.training.prepare import BaseModel, prepare, sft_config
    from tuning.training.save import save
    from tuning.training.train import make_trainer, train

    options, output = arguments.tune, ModelDirectory(Path(arguments.training["output_dir"]))
    rows: data.Rows = data.load_splits(Path(options.dataset_dir))
    base = BaseModel.of(arguments)
    refuse_own_source(base.source, output.path)
    rows, mixture = mixed(arguments, base, rows)
    identity = record.identity(arguments, base, rows)
    if arguments.choice and arguments.choice.shared:
        os.environ.update(FSDP2)  # Before TRL makes the connection to the other processes.
    resume_from = arguments.training["resume_from_checkpoint"]
    start = checkpoints.find_start(output, identity, overwrite=options.overwrite, resume_from=resume_from)
    if start.finished:
        if os.environ.get("RANK", "0") == "0":
            console.print(f"tune: {output.path} is already tuned with these settings; --overwrite tunes it again")
        return

    prepared = prepare(arguments, base, rows)
    config = sft_config(arguments, prepared, continues=start.checkpoint is not None)
    is_main = config.process_index == 0
    if is_main:
        # Not earlier: making `config` waits for all processes, so all of them have found their start.
        checkpoints.remove_unusable(output, start)
        if arguments.choice:
            console.print(f"tune: {arguments.choice.reason}", markup=False)
        for source in mixture:
            console.print(f"tune: mixed in {source.sentence()}", markup=False)
        show_example(prepared, options.show_row)

    checked = check(arguments, config, prepared)
    if RunDirectory(output.path.resolve().parent).journal.is_file():
        trackers.group_training(config.report_to, output.path)
    trainer = make_trainer(arguments, config, prepared)
    checked = check_loaded(trainer, prepared, checked)

    begun = record.begin(
        arguments, prepared, checked, trainer, identity=identity, mixture=mixture, resumed_from_step=start.step
    )
    with record.recorded(output, begun, trainer, started=started):
        train(trainer, start.checkpoint)
        save(trainer, prepared.tokenizer, output.path, base=base, merge=options.merge)
    if is_main:
        model_card.write(output)
        checkpoints.remove_unneeded(output, arguments.by_user)
        record.summarize(output)


def _take_debug(arguments: list[str]) -> bool:
    """Remove a bare `--debug` and return whether there was one (with a value it is an argument of `SFTConfig`)."""
    for position, argument in enumerate(arguments):
        if argument == "--debug" and (position + 1 == len(arguments) or arguments[position + 1].startswith("--")):
            del arguments[position]
            return True
    return False


def set_environment(debug: bool) -> None:
    """Set what the libraries read when they are imported. Without `debug`, hide messages that a user cannot act on.

    Args:
        debug: whether to let libraries write whatever they want to.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if "WORLD_SIZE" not in os.environ:  # One process trains on one GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    # By default, waiting threads on a CPU spin, and take the cores from those that work as soon as anything else runs:
    # 0.5 instead of 2.8 steps/s with the demo model on 2 busy cores. torch reads this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if debug:
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    # PEFT has patterns for the layers of known mixtures of experts, and warns of those that a model does not have.
    warnings.filterwarnings("ignore", message=r"The following (rank|alpha)_pattern keys", category=RuntimeWarning)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def _hear_libraries() -> None:
    """Let the libraries say what `set_environment` has hidden: it goes into the log of the run."""
    from transformers.utils import logging as of_transformers

    of_transformers.set_verbosity_info()
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    warnings.simplefilter("default")


if __name__ == "__main__":
    sys.exit(main())
