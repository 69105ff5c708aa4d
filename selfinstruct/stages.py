"""The stages after each other: generate -> export -> tune -> evaluate -> report.

Generation, tuning and evaluation run in processes of their own, so that each finds the GPU as it was before: an engine
gives its memory back for good only when its processes end. A stage that has done its work is not done again: it leaves
a mark with the hash of what it worked from.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selfinstruct import export as exports
from selfinstruct import jsonl
from selfinstruct.config import Config, Tune, dump_yaml
from selfinstruct.errors import (
    EXIT_CODE_FILE,
    ConfigError,
    InputError,
    Interrupted,
    RunLockedError,
    SelfInstructError,
    StoppedError,
)
from selfinstruct.journal import RunDirectory, read_lines
from selfinstruct.progress import closing_table, console, duration, stage
from selfinstruct.signals import on_signals
from selfinstruct.state import RunState, replay

_ERROR_OF = {2: ConfigError, 3: StoppedError, 4: InputError, 5: RunLockedError}


def run_all(config: Config, *, overwrite: bool = False) -> None:
    """The whole chain for one configuration; continues where an earlier call stopped.

    Raises:
        SelfInstructError: as the failing stage said; everything before it is kept.
    """
    if config.output_dir is None:
        raise ConfigError("give a run directory: `output_dir:` in the configuration, or --output-dir RUN")
    run = RunDirectory(Path(config.output_dir))
    began = time.monotonic()
    stage("1/5 generate")
    _run_generate(config, overwrite)
    stage("2/5 export")
    export(config)
    stage("3/5 tune")
    tune(config)
    stage("4/5 evaluate")
    evaluate(config)
    stage("5/5 report")
    report(run)
    _closing(run, time.monotonic() - began)


def export(config: Config) -> dict[str, Any]:
    """Write the dataset, and say what is in it."""
    counts = exports.export(config)
    rows = counts["rows"]
    console.print(
        f"export: {rows['train']} training rows, {rows['validation_seen']} validation_seen, "
        f"{rows['validation_unseen']} validation_unseen"
        + (f"; left out near evaluation tasks: {n}" if (n := sum(counts["instances"]["left_out"].values())) else "")
    )
    return counts


def tune(config: Config, *, overwrite: bool = False) -> None:
    """Tune on the exported dataset, into `model/`; and on the seeds alone, when the evaluation wants that baseline.

    With `overwrite`, whatever models are there are made anew.
    """
    from tuning.launch import tune_command

    run = RunDirectory(Path(str(config.output_dir)))
    exports.require_dataset(run)
    model = config.tune.model or config.model

    def tune_on(dataset: Path, output: Path, options: Tune) -> None:
        tasks = config.evaluate.tasks
        command = tune_command(options, model=model, dataset_dir=dataset, output_dir=output, eval_tasks=tasks)
        done = _Mark(output, sorted(dataset.glob("*.jsonl")), [model, *command[1:]])
        if done.stands() and not overwrite:
            console.print(f"tune: {output} is up to date")
            return
        _call([*command, "--overwrite"] if overwrite else command, "tune")
        done.set()

    tune_on(run.dataset, run.model, config.tune)
    if config.evaluate.seeds_baseline:
        rows = exports.export_seeds(config, run.seeds_dataset)
        for split in exports.SPLITS[1:]:  # so that both keep their best checkpoint by the same rows
            if (run.dataset / f"{split}.jsonl").exists():
                shutil.copyfile(run.dataset / f"{split}.jsonl", run.seeds_dataset / f"{split}.jsonl")
        console.print(f"tune: now the baseline, on the {rows} rows of the seeds alone")
        tune_on(run.seeds_dataset, run.seeds_model, _no_longer(config.tune, rows, run.model / "training.json"))


def _no_longer(tune: Tune, rows: int, record: Path) -> Tune:
    """The options of a tuning on `rows` rows that takes at most the steps of the one that `record` tells of.

    Without this the arm with more rows would be trained longer, and the comparison would be about that.
    """
    trained = json.loads(record.read_text())
    if rows <= trained["rows"]["trained_on"]:
        return tune
    return tune.model_copy(update={"max_steps": trained["steps"]})


def evaluate(config: Config, models: Sequence[str] = (), *, score_only: bool = False) -> None:
    """Score the base and the tuned model (and further ones, as NAME=PATH), into `evaluation/`.

    With `score_only`, what is saved there is scored again, and no engine starts.
    """
    run = RunDirectory(Path(str(config.output_dir)))
    command = [sys.executable, "-m", "tuning.evaluation", "--run-dir", str(run.path)]
    for model in models:
        command += ["--model", model]
    if score_only:
        command.append("--score-only")
    _call(command, "evaluate")
    scores = run.evaluation / "scores.json"
    if (run.model / "training.json").exists() and "tuned" in json.loads(scores.read_text())["arms"]:
        from tuning import card

        card.write(run.model, scores)


def report(run: RunDirectory) -> Path:
    """Write `report.html`."""
    from selfinstruct.report import write_report

    path = write_report(run.path)
    console.print(f"report: {path}")
    return path


def generate(config: Config) -> None:
    """Grow the run of the configuration to its target, in a process of its own."""
    _run_generate(config, overwrite=False)


def regenerate(source: Path, config: Config) -> None:
    """Write the outputs of the run in `source` anew, into the run of the configuration, in a process of its own."""
    command = [sys.executable, "-m", "selfinstruct", "regenerate", str(source), "--config", "-"]
    _call([*command, "--output-dir", str(config.output_dir)], "regenerate", standard_input=dump_yaml(config))


def _run_generate(config: Config, overwrite: bool) -> None:
    run = RunDirectory(Path(str(config.output_dir)))
    if not overwrite and run.journal.exists():
        state = replay(read_lines(run.journal, live=True))
        console.print(
            f"continuing {run.path}: {len(state.pool)}/{max(state.target, config.num_instructions)} accepted so far"
        )
    command = [
        sys.executable,
        "-m",
        "selfinstruct",
        "generate",
        "--config",
        "-",
        *(["--overwrite"] if overwrite else []),
    ]
    _call(command, "generate", standard_input=dump_yaml(config))


def _call(command: Sequence[str], name: str, standard_input: str | None = None) -> None:
    """Run a stage as a process that ends with this one; its stderr is the user's.

    It has a process group of its own: a Ctrl-C reaches this process alone, which passes it on, once.
    """
    ends_with_us = _end_with(os.getpid())
    own_code = Path(tempfile.mkdtemp(prefix="selfinstruct-")) / "exit_code"
    received: list[int] = []
    process: subprocess.Popen[str] | None = None

    def pass_on(number: int) -> None:
        received.append(number)
        if process is not None:
            process.send_signal(number)

    with on_signals(pass_on):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if standard_input is not None else subprocess.DEVNULL,
            process_group=0,
            preexec_fn=ends_with_us,
            env=os.environ | {EXIT_CODE_FILE: str(own_code)},
            text=True,
        )
        for number in received:  # It came before there was a process to tell.
            process.send_signal(number)
        process.communicate(standard_input)
    code = int(own_code.read_text()) if process.returncode and own_code.exists() else process.returncode
    shutil.rmtree(own_code.parent)
    if received or code > 128:
        raise Interrupted(received[0] if received else code - 128)
    if code < 0:
        by = signal.Signals(-code).name
        raise StoppedError(f"{name}: its process was killed by {by}; the same command continues")
    if code:
        # The stage has said on stderr what is wrong.
        raise _ERROR_OF.get(code, SelfInstructError)(f"{name} did not finish (exit code {code}); see the message above")


def _end_with(parent: int) -> Callable[[], None]:
    """A function for a child process to call: Linux is to stop it when its parent dies, however that happens."""
    libc = ctypes.CDLL(None)

    def set_up() -> None:
        libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # It died before it could be watched.
            os._exit(1)

    return set_up


class _Mark:
    """Remembers, in `<output>/.done`, the hash of what a stage worked from."""

    def __init__(self, output: Path, inputs: Sequence[Path], arguments: Sequence[str]) -> None:
        self._path = output / ".done"
        digest = hashlib.sha256(repr(list(arguments)).encode())
        for path in inputs:
            with path.open("rb") as stream:
                digest.update(path.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
        self._hash = digest.hexdigest()

    def stands(self) -> bool:
        """Whether the stage has finished with exactly these inputs, and what it made is still there."""
        made = any(self._path.parent.glob("*.safetensors"))
        return made and self._path.exists() and self._path.read_text().strip() == self._hash

    def set(self) -> None:
        """Note that it has."""
        jsonl.write_text(self._path, self._hash + "\n")


def _closing(run: RunDirectory, seconds: float) -> None:
    state: RunState = replay(read_lines(run.journal))
    rows: list[tuple[str, Any]] = [
        ("accepted", f"{len(state.pool)} instructions, {state.num_instances} instances"),
        ("dataset", run.dataset),
        ("model", run.model),
        ("scores", run.evaluation / "scores.json"),
        ("report", run.report),
        ("time", duration(seconds)),
    ]
    alone = (run.model / "adapter_config.json").exists()  # its card says how it is served
    following = f"selfinstruct chat {run.path}" if alone else f"vllm serve {run.model}"
    closing_table(f"{run.path} is complete", rows, following)
