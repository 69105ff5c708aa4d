"""Which files of a directory are a run's: what `--overwrite` may remove, and where a new run may begin.

A directory holds a run only if its journal begins with a header. Even then a file is the run's only if a stage writes
one of that name: whatever else lies in the directory, and in the folders of the stages, stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfinstruct.config.load import load_config
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.records import TRAIN
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.evaluation_record import read_evaluation_texts
from selfinstruct.run.folders import DatasetDirectory, EvaluationDirectory, ModelDirectory
from selfinstruct.run.journal import read_header

_PARTS = ("predictions", "consistency", "ifeval", "constraints", "plain-text", "judgements", "lm-eval")
"""Beginnings of the names of files in `evaluation/`."""
_SELF_INSTRUCT = ("machine_generated_instructions", "is_clf_or_not", "all_generated_instances", "finetuning")
_MODEL = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
    "*processor_config.json",
    "README.md",
)
"""The files of a model that the training writes. Other files in its folder are the user's."""


_DEEPEST = 4
"""Folders from a run's file up to the run's own: `model/checkpoint-1/README.md`."""


def require_free(run: RunDirectory) -> None:
    """Raise `ConfigError` if a run cannot begin here, because it would overwrite files that do not belong to a run.

    Files of a start that was killed before it wrote the journal's header do not count.
    """
    stages = [*_of_stages(run), *_of_model(run.model), *_of_model(run.seeds_model)]
    taken = {path.relative_to(run.path).parts[0] for path in [run.report, *stages] if path.exists()}
    if run.config_path.exists() and not is_configuration(run.config_path):
        taken.add(run.config_path.name)
    if run.evaluation_tasks.exists() and not _is_evaluation_record(run.evaluation_tasks):
        taken.add(run.evaluation_tasks.name)
    if taken:
        raise ConfigError(
            f"{run.path} holds no run, but a run would write over what is there: {', '.join(sorted(taken))}; "
            "give another --output-dir"
        )


def require_overwritable(run: RunDirectory, reads: Sequence[str]) -> None:
    """Raise `ConfigError` if `--overwrite` would remove files that belong to no run, or that the new run reads.

    Args:
        run: the directory.
        reads: models, files and runs that the new run reads; names that are no paths count for nothing.
    """
    if not _holds_run(run):
        if run.journal.exists() and run.journal.stat().st_size:
            raise ConfigError(
                f"{run.journal} does not begin as the journal of a run does, so --overwrite removes nothing; give "
                "another --output-dir"
            )
        return require_free(run)
    require_not_read(run, reads)
    return None


def require_not_read(run: RunDirectory, reads: Sequence[str]) -> None:
    """Raise `ConfigError` if one of `reads` is among the files of the run, which are about to be removed."""
    owned = [path.resolve() for path in owned_files(run)]
    for read in reads:
        path = Path(read).expanduser().resolve()
        if path.is_relative_to(run.path.resolve()) and any(file.is_relative_to(path) for file in owned):
            raise ConfigError(
                f"--overwrite would remove {read}, which the new run reads; copy it elsewhere, or give another "
                "--output-dir"
            )


def require_not_owned(path: Path) -> None:
    """Raise `ConfigError` if a file that is to be written is a file of a run, such as its journal."""
    written = path.resolve()
    for folder in list(written.parents)[:_DEEPEST]:
        run = RunDirectory(folder)
        if _holds_run(run) and written in {owned.resolve() for owned in owned_files(run)}:
            raise ConfigError(f"{path} is a file of the run {folder}; give another file to be written")


def discard(run: RunDirectory) -> None:
    """Remove the files of the run, the journal last, and the folders that are then empty. Do nothing without a run."""
    if not _holds_run(run):
        return
    for path in owned_files(run):
        path.unlink(missing_ok=True)
    folders = [*_folders(run), run.probe, run.tensorboard]
    below = [path for folder in folders if not folder.is_symlink() for path in folder.rglob("*") if path.is_dir()]
    for folder in sorted([*folders, *below], key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # Not empty, or not there.
            folder.rmdir()


def owned_files(run: RunDirectory) -> list[Path]:
    """Return the files that the stages of the run wrote, the journal last."""
    files = [run.torn, *run.damaged_copies(), run.metrics_path, run.config_path]
    files += [run.evaluation_tasks, run.report, run.schedule, run.stopped, run.engine]
    files += [run.library_log, run.library_log_before]
    for model in (run.model, run.seeds_model):
        if model.record_path.exists() or model.failed.exists():  # Else no training of ours has written here.
            files += _of_model(model)
    files += [*_of_stages(run), *_below(run.probe), *_below(run.tensorboard), run.journal]
    return [path for path in files if path.is_file() or path.is_symlink()]


def _holds_run(run: RunDirectory) -> bool:
    try:
        return run.journal.exists() and read_header(run.journal) is not None
    except InputError:
        return False


def is_configuration(path: Path) -> bool:
    """Return whether a file can be read as a configuration of this program."""
    try:
        load_config(path, {})
    except (ConfigError, InputError):
        return False
    return True


def _is_evaluation_record(path: Path) -> bool:
    try:
        read_evaluation_texts(path)
    except InputError:
        return False
    return True


def _folders(run: RunDirectory) -> list[Path]:
    stages = (run.dataset, run.seeds_dataset, run.model, run.seeds_model, run.evaluation)
    return [stage.path for stage in stages]


def _of_stages(run: RunDirectory) -> Iterator[Path]:
    for dataset in (run.dataset, run.seeds_dataset):
        yield from _of_dataset(dataset)
    yield from _of_evaluation(run.evaluation)


def _of_dataset(dataset: DatasetDirectory) -> Iterator[Path]:
    yield from dataset.path.glob("validation_*.jsonl")
    yield from (dataset.split(TRAIN), dataset.alpaca, dataset.card, dataset.counts_path)
    yield from (dataset.near_evaluation, dataset.same_meaning, dataset.preferences, dataset.llama_factory)
    yield from (dataset.self_instruct / f"{name}.jsonl" for name in _SELF_INSTRUCT)


def _of_model(model: ModelDirectory) -> Iterator[Path]:
    for pattern in _MODEL:
        yield from model.path.glob(pattern)
        yield from (model.path / "adapter").glob(pattern)
    for folder in (model.checkpoints, model.path / "runs", model.path / ".new"):
        yield from _below(folder)
    yield from (model.record_path, model.done, model.failed)


def _of_evaluation(evaluation: EvaluationDirectory) -> Iterator[Path]:
    for part in _PARTS:
        for folder in (evaluation.path, evaluation.kept(part, "").parent):
            yield from folder.glob(f"{part}-*.jsonl")
            yield from folder.glob(f"{part}-*.key")
    yield evaluation.scores_path


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())
