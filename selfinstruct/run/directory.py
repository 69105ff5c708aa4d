"""The paths in a run directory and in a directory of rounds, with methods that read the files.

    runs/NAME/ config.yaml · journal.jsonl · metrics.jsonl · dataset/ · model/ · evaluation/ · report.html

An attribute is a path. If a method reads the file, the name of the attribute ends in `_path`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.folders import DatasetDirectory, EvaluationDirectory, ModelDirectory
from selfinstruct.run.journal import read_header, read_lines
from selfinstruct.run.lines import Header
from selfinstruct.run.lock import LockedDirectory
from selfinstruct.run.measurements import Measurement, read_measurements
from selfinstruct.run.reviews import Review, read_reviews
from selfinstruct.run.rounds_record import Rounds, read_rounds
from selfinstruct.run.state import NO_HEADER, RunState, replay

ROUNDS = "rounds.json"
"""In a directory of rounds: what was done in each."""


class RunDirectory(LockedDirectory):
    """The files of a run. The constructor does not access the disk.

    Attributes:
        journal: the run itself, append-only.
        torn: incomplete last lines that crashes left.
        evaluation_tasks: the texts of the evaluation tasks that its instructions are kept apart from.
        dataset: the exported dataset.
        model: the tuned model.
        seeds_dataset: the dataset that holds only the seeds, for a baseline.
        seeds_model: the model that is tuned only on the seeds.
        evaluation: answers and scores.
        report: the report, one HTML page.
        library_log: what vLLM, transformers, TRL and others write, line by line.
        library_log_before: its first part, once it has become long.
        schedule: the plan of the last `run` with a deadline.
        stopped: why generation ended, if the journal does not say it.
        engine: the processes of the engine, so that those of a killed run can be ended.
        probe: a folder that exists only while the speed of tuning is measured.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config_path = path / "config.yaml"
        self.journal = path / "journal.jsonl"
        self.torn = path / "journal.jsonl.torn"
        self.evaluation_tasks = path / "evaluation_tasks.jsonl"
        self.metrics_path = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.dataset = DatasetDirectory(path / "dataset")
        self.model = ModelDirectory(path / "model")
        self.seeds_dataset = DatasetDirectory(path / "dataset-seeds")
        self.seeds_model = ModelDirectory(path / "model-seeds")
        self.evaluation = EvaluationDirectory(path / "evaluation")
        self.reviews_path = path / "reviews.jsonl"
        self.report = path / "report.html"
        self.library_log = path / "libraries.log"
        self.library_log_before = path / "libraries.log.1"
        self.schedule = path / "schedule.json"
        self.stopped = path / "stopped.json"
        self.engine = path / ".engine.json"
        self.probe = path / ".probe"
        self.probe_dataset = DatasetDirectory(self.probe / "dataset")
        self.probe_model = ModelDirectory(self.probe / "model")

    def written(self) -> Iterator[Path]:
        """Yield the files of the run, the folders of its stages, and all that is in these."""
        yield from (self.config_path, self.journal, self.torn, self.metrics_path, self.report, self.schedule)
        yield from (self.evaluation_tasks, self.stopped, self.engine, *self.damaged_copies())
        yield from (self.library_log, self.library_log_before)
        for stage in (self.dataset, self.model, self.seeds_dataset, self.seeds_model, self.evaluation):
            yield stage.path
            yield from stage.path.rglob("*")
        yield self.probe

    def require_journal(self) -> None:
        """Raise `InputError` unless this is a run directory with a journal."""
        if not self.journal.exists() and (self.path / ROUNDS).exists():
            raise InputError(f"{self.path} holds rounds; name one of them, for example {self.path / 'best'}")
        if not self.journal.exists():
            raise InputError(
                f"{self.path} is not a run directory: it has no {self.journal.name}; start one with "
                "`selfinstruct generate`"
            )

    def journal_stamp(self) -> tuple[int, int] | None:
        """Return what changes whenever the journal is written; None if there is no journal."""
        return (self.journal.stat().st_size, self.journal.stat().st_mtime_ns) if self.journal.exists() else None

    def state(self, *, live: bool = False) -> RunState:
        """Return the state that the journal records.

        Args:
            live: whether another process may be writing to the journal.

        Raises:
            InputError: there is no journal, or it is damaged.
        """
        self.require_journal()
        return replay(read_lines(self.journal, live=live), self.journal)

    def header(self) -> Header:
        """Return the journal's first line, or `NO_HEADER` if the journal is empty.

        Raises:
            InputError: there is no journal, or its first line is damaged.
        """
        self.require_journal()
        return read_header(self.journal) or NO_HEADER

    def config(self) -> Config:
        """Return the run's configuration.

        Raises:
            InputError: the file is missing.
            ConfigError: the file is damaged.
        """
        return load_config(self.require_config(), {})

    def require_config(self) -> Path:
        """Return the path of the run's configuration; raise `InputError` if the file is missing."""
        if not self.config_path.exists():
            raise InputError(
                f"{self.config_path} is missing; give the `selfinstruct generate` command of this run again to "
                "restore it"
            )
        return self.config_path

    def metrics(self, tail_bytes: int | None = None) -> Iterator[Measurement]:
        """Yield the measurements of generation in their order.

        Args:
            tail_bytes: number of bytes to read at the end of the file; None: the whole file.
        """
        return read_measurements(self.metrics_path, tail_bytes)

    def reviews(self) -> list[Review]:
        """Return what people say about rows."""
        return read_reviews(self.reviews_path)

    def cut_by_deadline(self) -> list[str]:
        """Return, as sentences, what the last `run` with a deadline left out or shortened.

        The list is empty if the file is missing or damaged: only people read it, so that is no error.
        """
        try:
            cut = jsonl.read_json(self.schedule).get("cut")
        except InputError:
            return []
        return [str(sentence) for sentence in cut] if isinstance(cut, list) else []

    @property
    def generated(self) -> RunDirectory:
        """Return the directory of the generated run whose outputs this run rewrites: RUN-generated."""
        return RunDirectory(self.path.with_name(f"{self.path.name}-generated"))

    def damaged_copies(self) -> list[Path]:
        """Return the copies of the journal that `selfinstruct repair` has kept."""
        copies = self.path.glob(f"{self.journal.name}.damaged-*")
        return sorted((path for path in copies if path.name.rpartition("-")[2].isdigit()), key=_number)

    def next_damaged_copy(self) -> Path:
        """Return the first unused path for a copy of the damaged journal."""
        number = 1
        while (copy := self.path / f"{self.journal.name}.damaged-{number}").exists():
            number += 1
        return copy


def _number(copy: Path) -> int:
    return int(copy.name.rpartition("-")[2])


class RoundsDirectory(LockedDirectory):
    """The files of `selfinstruct iterate`; each round is a run directory. The constructor does not access the disk.

    Attributes:
        config_path: the configuration of all rounds.
        rounds_path: what was done in each round, and how the rounds compare.
        best: a symbolic link to the best round.
        report: the rounds in a table, one HTML page.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config_path = path / "config.yaml"
        self.rounds_path = path / ROUNDS
        self.best = path / "best"
        self.report = path / "report.html"

    def written(self) -> Iterator[Path]:
        """Yield the files of the rounds and the rounds themselves; `best` is replaced, not written through."""
        yield from (self.config_path, self.rounds_path, self.report, *self.path.glob("round-*"))

    def round(self, name: str) -> RunDirectory:
        """Return the run directory of a round by its name (`round-01`)."""
        return RunDirectory(self.path / name)

    def rounds(self) -> Rounds:
        """Return what was done in each round.

        Raises:
            InputError: the file is missing or damaged.
        """
        return read_rounds(self.rounds_path)

    def point_at(self, name: str) -> None:
        """Make `best` a link to a round. The old link is replaced atomically."""
        temporary = self.path / ".best.new"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name)
        temporary.replace(self.best)
