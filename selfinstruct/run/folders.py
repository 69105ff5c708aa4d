"""The folders that the stages of a run write: `dataset/`, `model/` and `evaluation/`.

Each has its own class, because tuning also takes datasets and output folders outside a run.
"""

from __future__ import annotations

from pathlib import Path

from selfinstruct.errors import InputError
from selfinstruct.run.export_counts import ExportCounts, read_export_counts
from selfinstruct.run.scores import Scores, read_scores
from selfinstruct.run.training_record import TrainingRecord, read_training_record


class DatasetDirectory:
    """The exported dataset. The constructor does not access the disk.

    Attributes:
        path: the directory.
        alpaca: the training split in the format of Alpaca.
        self_instruct: the folder of the files in the formats of the reference code.
        preferences: pairs of a kept and a bad answer, where they were asked for.
        near_evaluation: what was left out because it overlaps with an evaluation task, and by how much.
        same_meaning: what was left out because an earlier instruction says the same in other words.
        card: the dataset card.
        argilla: the training rows as records for Argilla, where they were asked for.
        llama_factory: where LLaMA-Factory looks for the names of datasets.
        counts_path: what was exported and what was left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.alpaca = path / "alpaca.json"
        self.self_instruct = path / "self_instruct"
        self.preferences = path / "preferences.jsonl"
        self.near_evaluation = path / "near_evaluation.jsonl"
        self.same_meaning = path / "same_meaning.jsonl"
        self.card = path / "README.md"
        self.counts_path = path / "export.json"
        self.llama_factory = path / "dataset_info.json"
        self.argilla = path / "argilla.jsonl"

    def split(self, name: str) -> Path:
        """Return the path of a split's rows."""
        return self.path / f"{name}.jsonl"

    def parquet(self, name: str) -> Path:
        """Return the path of a split as Parquet, by the name that `datasets` knows it by."""
        return self.path / "data" / f"{name}-00000-of-00001.parquet"

    def export_counts(self) -> ExportCounts:
        """Return the counts of the export.

        Raises:
            InputError: nothing was exported, or the file is damaged.
        """
        return read_export_counts(self.counts_path)


class ModelDirectory:
    """A tuned model, or one in training. The constructor does not access the disk.

    Attributes:
        path: the directory.
        checkpoints: the folder of checkpoints; it exists only until training ends.
        record_path: what was trained, how, and how it ended.
        done: a file that shows that the stage has finished; it holds the hash of the stage's inputs.
        failed: a file that shows that the last tuning failed; it says why.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.record_path = path / "training.json"
        self.done = path / ".done"
        self.failed = path / "failed.txt"

    @property
    def is_adapter(self) -> bool:
        """Return whether the folder holds a LoRA adapter rather than a whole model."""
        return (self.path / "adapter_config.json").exists()

    @property
    def holds_model(self) -> bool:
        """Return whether the folder holds a model or an adapter."""
        return (self.path / "config.json").exists() or self.is_adapter

    @property
    def failure(self) -> str | None:
        """Return why the last tuning failed; None if it did not. A model that is there is then an earlier one."""
        try:
            return self.failed.read_text(encoding="utf-8").strip()
        except OSError:
            return None

    def require_trained(self) -> None:
        """Refuse a model of which there are no weights yet, or perhaps an earlier one's. Other folders pass.

        Raises:
            InputError: its training goes on, was killed, or ended without weights.
        """
        try:
            record = read_training_record(self.record_path)
        except InputError:  # Another program's file may have the same name.
            return
        has_weights = any(self.path.glob("*.safetensors"))
        if record is None or (record.state != "running" and (record.state == "finished" or has_weights)):
            return
        how = "has not ended, or was killed" if record.state == "running" else f"{record.state} without weights"
        why = f" ({' '.join(record.error.split()):.200})" if record.error and record.state != "running" else ""
        raise InputError(
            f"{self.path}: its training {how}{why}; wait for it, or give the command that tunes it again: it continues"
        )

    def training_record(self) -> TrainingRecord:
        """Return what was trained, how, and how it ended.

        Raises:
            InputError: nothing was trained, or the file is damaged.
        """
        record = read_training_record(self.record_path)
        if record is None:
            raise InputError(f"{self.record_path} is missing; `selfinstruct tune` writes it")
        return record


class EvaluationDirectory:
    """The answers of each arm, and their scores. The constructor does not access the disk.

    Answers are divided into parts ("predictions" and others). Each part of an arm has two files: the rows that the
    scores are made of, and all rows that are kept.

    Attributes:
        path: the directory.
        scores_path: scores, intervals and comparisons.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scores_path = path / "scores.json"

    def rows(self, part: str, arm: str) -> Path:
        """Return the path of the rows of one part of an arm."""
        return self.path / f"{part}-{arm}.jsonl"

    def kept(self, part: str, arm: str) -> Path:
        """Return the path of all rows of this part that were ever made, whatever was asked last."""
        return self.path / "kept" / f"{part}-{arm}.jsonl"

    def arms(self, part: str) -> list[str]:
        """Return the names of the arms that have rows of a part, sorted."""
        names = (path.name.removeprefix(f"{part}-") for path in self.path.glob(f"{part}-*.jsonl"))
        return sorted(name.removesuffix(".jsonl") for name in names)

    def scores(self) -> Scores:
        """Return scores, intervals and comparisons.

        Raises:
            InputError: nothing was evaluated, or the file is damaged.
        """
        return read_scores(self.scores_path)
