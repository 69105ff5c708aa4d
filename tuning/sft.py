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
import warnings
from collections.abc import Sequence
from pathlib import Path

from selfinstruct.console import console
from selfinstruct.environment import DEBUG_VARIABLE
from selfinstruct.program_edge import debugging, run_program
from tuning.training import data, inspection
from tuning.training import findings as preflight
from tuning.training.trainer import Training


def main(argv: Sequence[str] | None = None) -> int:
    """Tune a model as `argv` says, and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if _take_debug(arguments):
        os.environ[DEBUG_VARIABLE] = "1"
    set_environment(debugging())
    return run_program(lambda: tune(arguments), prefix="")


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


def _take_debug(arguments: list[str]) -> bool:
    """Remove a bare `--debug` and return whether there was one (with a value it is an argument of `SFTConfig`)."""
    for position, argument in enumerate(arguments):
        if argument == "--debug" and (position + 1 == len(arguments) or arguments[position + 1].startswith("--")):
            del arguments[position]
            return True
    return False


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
