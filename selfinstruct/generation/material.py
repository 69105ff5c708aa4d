"""What a run reads beside its options: seed tasks, parent runs, and the evaluation tasks that it keeps apart from."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct.config.later_stages import Evaluate
from selfinstruct.config.schema import Filters, GenerationConfig
from selfinstruct.errors import InputError
from selfinstruct.formats import seed_tasks
from selfinstruct.formats.evaluation_tasks import EvaluationText, load_evaluation_texts
from selfinstruct.generation.prompts import PROMPTS_VERSION
from selfinstruct.generation.proposers.topics import load_topics
from selfinstruct.records import SeedTask
from selfinstruct.run import evaluation_record, parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.parents import ParentRuns


@dataclass(frozen=True, slots=True)
class Material:
    """The content of the files that a run reads.

    Attributes:
        tasks: the seed tasks.
        parent_runs: what parent runs accepted.
        evaluation: evaluation tasks that no accepted instruction may be near; empty if the run looks at none.
        left_out: what of the files of seeds is no task, by what it is.
    """

    tasks: list[SeedTask]
    parent_runs: ParentRuns
    evaluation: list[EvaluationText]
    left_out: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, config: GenerationConfig, evaluate: Evaluate, run: RunDirectory, recorded: dict[str, Any]) -> Material:
        """Read it.

        Args:
            config: names the files.
            evaluate: names the evaluation tasks.
            run: the run's directory.
            recorded: the identity of the run that is there; empty if there is none.

        Raises:
            InputError: a file is missing or broken.
            ConfigError: two parent runs have the same name.
        """
        left_out: Counter[str] = Counter()
        return cls(
            seed_tasks.load_seed_tasks(config.seeds, left_out=left_out),
            parents.load_parents(config.parent_runs),
            evaluation_texts(config.filters, evaluate, run.evaluation_tasks, recorded),
            left_out,
        )

    def identity(self, config: GenerationConfig) -> dict[str, Any]:
        """Return what makes two runs the same run, the content of the files that it reads included."""
        sha256 = seed_tasks.fingerprint(self.tasks)
        identity = {**config.identity(), "seeds_sha256": sha256, "prompts_version": PROMPTS_VERSION}
        if config.topics:
            identity["topics_sha256"] = load_topics(config.topics).fingerprint()
        if quotas := seed_quotas(self.tasks):
            identity["seed_quotas"] = quotas
        if config.parent_runs:
            identity["earlier_sha256"] = parents.fingerprint(self.parent_runs)
        if self.evaluation:
            identity[evaluation_record.FINGERPRINT] = evaluation_record.fingerprint(self.evaluation)
        return identity

    @property
    def classification_share(self) -> float:
        """Return the share of classification tasks among the seeds, in [0, 1]."""
        return sum(task.is_classification for task in self.tasks) / len(self.tasks)

    def keep(self, run: RunDirectory) -> None:
        """Write into the run's directory what it goes on with even if the files change."""
        if self.evaluation:
            evaluation_record.write_evaluation_texts(run.evaluation_tasks, self.evaluation)


def seed_quotas(tasks: Sequence[SeedTask]) -> list[list[float | None]]:
    """Return how many tasks each file has in turn, and its quota; empty if none has one."""
    files = [(quota, len(list(group))) for quota, group in itertools.groupby(tasks, lambda task: task.quota)]
    quotas = [[count, quota.share if quota else None] for quota, count in files]
    return quotas if any(share for _, share in quotas) else []


def evaluation_texts(
    filters: Filters, evaluate: Evaluate, kept: Path, recorded: dict[str, Any]
) -> list[EvaluationText]:
    """Return the evaluation tasks that no instruction may be near: those that the run keeps, else those of the options.

    Args:
        filters: whether the run looks at them.
        evaluate: names them.
        kept: the run's own file of them.
        recorded: the identity of the run that is there; empty if there is none.

    Raises:
        InputError: a file of tasks cannot be read, or the run's own was changed.
    """
    if filters.near_evaluation == "off":
        return []
    # A file that is lost is made again from the options; the identity says whether it is the same.
    if evaluation_record.FINGERPRINT in recorded and kept.exists():
        return evaluation_record.kept_evaluation_texts(kept, recorded)
    skip = (lambda error: None) if evaluate.skip_broken else None
    try:
        return load_evaluation_texts(evaluate.tasks, skip)
    except InputError as error:
        raise InputError(
            f"{error}\nInstructions are kept apart from the evaluation tasks (--evaluate.tasks); correct them, or give "
            "--filters.near-evaluation off"
        ) from error
