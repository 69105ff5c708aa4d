"""The packs of a domain: what their tasks promise, their names, and the figures of the datasheet."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct import packaged
from selfinstruct.checks import seed_lint
from selfinstruct.cli import cli
from selfinstruct.config.paths import anchored
from selfinstruct.config.schema import Filters
from selfinstruct.errors import InputError
from selfinstruct.formats import seed_tasks
from selfinstruct.formats.evaluation_tasks import load_evaluation_tasks
from selfinstruct.generation.examples import can_be_shown
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import row_check
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.proposers.topics import load_topics
from selfinstruct.records import SeedTask
from tests import rouge

GENERAL = seed_tasks.load_seed_tasks(["seed_tasks"])
GENERAL_EVALUATION = seed_tasks.load_seed_tasks(["eval_tasks"])
SEEDS = {name: seed_tasks.load_seed_tasks([f"domain:{name}"]) for name in packaged.domains()}
EVALUATION = {name: seed_tasks.load_seed_tasks([f"domain:{name}/eval"]) for name in packaged.domains()}
DATASHEET = (Path(__file__).parents[3] / "seeds" / "README.md").read_text()
MEANT = r"^instructions in several languages: |: suspicious output of instance \d+: refusal "
"""Notes on the packaged tasks that are no faults: some are in other languages, and some are to be declined."""


def near(pairs: Sequence[tuple[SeedTask, SeedTask]], limit: float) -> list[tuple[str, str]]:
    """Return the ids of the pairs whose instructions reach a ROUGE-L F."""
    return [(a.id, b.id) for a, b in pairs if rouge.reaches(a.instruction, b.instruction, limit)]


@pytest.mark.parametrize("name", SEEDS)
def test_a_pack_keeps_what_it_promises(name: str) -> None:
    seeds, evaluation = SEEDS[name], EVALUATION[name]
    assert [t.id for t in seeds] == [f"{name}_{k:02d}" for k in range(1, 31)]
    assert [t.id for t in evaluation] == [f"{name}_eval_{k:02d}" for k in range(1, 11)]
    assert 24 <= len(load_topics(f"domain:{name}").subjects) <= 30
    for tasks in (seeds, evaluation):
        check = heuristics(Filters(), [t.instruction for t in tasks])
        assert {t.id: check(t.instruction) for t in tasks if check(t.instruction)} == {}
        assert [t.id for t in tasks if not can_be_shown(t, load_frame())] == []
        notes = [note for note in seed_lint.advice(tasks, load_frame()) if not re.search(MEANT, note)]
        assert notes == []
        assert all(len({i.output for i in t.instances}) >= 2 for t in tasks if t.is_classification)
        assert all(t.category and t.name for t in tasks)
    instances = [i for t in seeds for i in t.instances]
    outputs = [len(i.output.split()) for i in instances]
    assert 5 <= sum(t.is_classification for t in seeds) <= 6  # As of the general ones: a sixth.
    assert 0.25 <= sum(not any(i.input for i in t.instances) for t in seeds) / 30 <= 0.36
    assert statistics.mean(outputs) >= 40
    assert sum(n > 100 for n in outputs) / len(outputs) >= 0.1


@pytest.mark.parametrize("name", SEEDS)
def test_no_task_of_a_pack_is_near_another(name: str) -> None:
    others = [t for other, tasks in SEEDS.items() if other != name for t in tasks]
    held_out = [*EVALUATION[name], *(t for other, tasks in EVALUATION.items() if other > name for t in tasks)]
    assert near([*combinations(SEEDS[name], 2), *product(SEEDS[name], [*GENERAL, *others])], 0.6) == []
    assert near([*product(EVALUATION[name], [*GENERAL, *SEEDS[name], *others])], 0.5) == []
    assert near([*combinations(held_out, 2), *product(EVALUATION[name] + SEEDS[name], GENERAL_EVALUATION)], 0.5) == []


@pytest.mark.parametrize("name", SEEDS)
def test_filters_of_rows_keep_a_pack(name: str) -> None:
    decide = row_check(Filters(), load_frame())
    for task in SEEDS[name] + EVALUATION[name]:
        for i in task.instances:
            row = Row(task.instruction, i.input, i.output, task.is_classification)
            assert decide(row).rejection is None, task.id


@pytest.mark.parametrize("name", SEEDS)
def test_the_datasheet_has_the_figures_of_a_pack(name: str) -> None:
    assert re.findall(rf"^\| `{name}`.*$", DATASHEET, re.M) == [
        figures(f"`{name}`", SEEDS[name]),
        figures(f"`{name}`, evaluation", EVALUATION[name]),
    ]


def figures(title: str, tasks: Sequence[SeedTask]) -> str:
    instances = [i for t in tasks for i in t.instances]
    outputs = [len(i.output.split()) for i in instances]
    without = sum(not any(i.input for i in t.instances) for t in tasks)
    cells = [
        title,
        len(tasks),
        sum(t.is_classification for t in tasks),
        len(instances),
        f"{100 * without / len(tasks):.0f} %",
        f"{statistics.mean(outputs):.1f}",
        f"{100 * sum(n > 100 for n in outputs) / len(outputs):.1f} %",
        len({t.category for t in tasks}),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def test_a_name_means_the_file_that_the_option_needs() -> None:
    folder = packaged.packaged_folder() / "domains" / "healthcare"
    assert packaged.resolve("domain:healthcare") == folder / "seed_tasks.jsonl"
    assert packaged.resolve("domain:healthcare/eval") == folder / "eval_tasks.jsonl"
    assert packaged.resolve("general") == packaged.resolve("seed_tasks")
    assert packaged.resolve("general", "eval_tasks.jsonl") == packaged.resolve("eval_tasks")
    for name in ("domain:healthcare", "domain:healthcare/eval"):
        assert [t.id for t in load_evaluation_tasks(name)] == [t.id for t in EVALUATION["healthcare"]]
    both = seed_tasks.load_seed_tasks(["domain:healthcare", "seed_tasks"])
    assert len(both) == 205


@pytest.mark.parametrize("name", ["domain:law", "domain:", "domain:../healthcare", "domain:law/eval"])
def test_an_unknown_domain_is_told_the_others(name: str) -> None:
    for load in (lambda: seed_tasks.load_seed_tasks([name]), lambda: load_topics(name)):
        with pytest.raises(InputError, match=r"no such domain; give domain:NAME with one of .*healthcare") as error:
            load()
        assert name in str(error.value)


def test_names_of_domains_are_no_paths() -> None:
    values = {
        "seeds": ["domain:healthcare", "seed_tasks"],
        "topics": "domain:healthcare",
        "evaluate": {"tasks": ["domain:healthcare"]},
        "tune": {"mix": ["domain:healthcare", "domain:healthcare:0.5"]},
    }
    assert anchored(values) == values


def test_a_pack_is_checked_against_its_own_evaluation_tasks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    load = seed_tasks.load_seed_tasks

    def noted(names: list[str], **options: Any) -> Any:
        compared.extend(map(str, names))
        return load(names, **options)

    monkeypatch.setattr(seed_tasks, "load_seed_tasks", noted)
    result = CliRunner().invoke(cli, ["seeds", "check", "domain:healthcare"])
    assert result.exit_code == 0
    assert result.output.endswith("30 tasks, 5 of them classification, 45 instances: no problems\n")
    assert compared[1:] == ["eval_tasks", "domain:healthcare/eval"]
    assert CliRunner().invoke(cli, ["seeds", "check", "domain:law"]).exit_code == 4
