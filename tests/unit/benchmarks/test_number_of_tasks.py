"""The curve of the number of tasks: what is tuned, and what the table says."""

from __future__ import annotations

from pathlib import Path

from benchmarks.number_of_tasks import MADE_WEIGHT, table, tune_command, write_task_files
from selfinstruct.dataset.convert import read_rows
from selfinstruct.dataset.holding_out import HeldOut
from selfinstruct.formats.families import DatasetRow
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.scores import ArmScores, Scores, SetScores
from selfinstruct.run.training_record import MixedIn, TrainingRecord, write_training_record
from tuning.training.arguments import parse
from tuning.training.tuning_method import Device


def test_the_tunings_differ_by_the_number_of_tasks_alone(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    commands = [tune_command("m", ["a:2", "b"], "task", n, run, tmp_path / "out", 9) for n in (4, None)]
    assert all(command[1:3] == ["-m", "tuning.sft"] for command in commands)
    some, every = (parse(command[3:], Device(cuda=False, bf16=False)) for command in commands)
    assert (some.tune.mix, some.tune.mix_hold_out, some.tune.mix_most_seen) == (["a:2", "b"], "task", 4)
    assert every.tune.mix_most_seen is None and some.training == every.training


def test_the_table_has_the_base_every_number_and_all(tmp_path: Path) -> None:
    def arm(score: float) -> ArmScores:
        unseen = SetScores(n=9, n_tasks=3, rouge_l=score, rouge_l_interval=(score - 1, score + 1))
        return ArmScores(model="m", prompting="zero_shot", sets={"mixture_unseen": unseen})

    models = {name: ModelDirectory(tmp_path / name) for name in ("tasks-4", "tuned")}
    for rows, model in zip((20, 1300), models.values(), strict=True):
        write_training_record(model.record_path, TrainingRecord(mixture=[MixedIn("a", 2000, rows, 0)]))
    scores = Scores(arms={"base": arm(5.0), "tasks-4": arm(7.0), "tuned": arm(9.5)})
    assert table(scores, [4], models).splitlines()[2:] == [
        "| 0 | 0 | 5.0 [4.0, 6.0] |",
        "| 4 | 20 | 7.0 [6.0, 8.0] |",
        "| all | 1,300 | 9.5 [8.5, 10.5] |",
    ]


def test_each_written_task_has_rows_enough_for_a_tuning_of_its_own(tmp_path: Path) -> None:
    number = write_task_files(tmp_path / "tasks")
    rows = list(read_rows(tmp_path / "tasks"))
    held_out = HeldOut.choose("task", 0.3, 42, rows)
    tasks: dict[str | None, list[DatasetRow]] = {row.task: [] for row in rows}
    for row in rows:
        if not held_out.side(row):
            tasks[row.task].append(row)
    assert len(tasks) == number >= 30 and len({row.instruction for row in rows}) == number
    assert all(len(trained) >= MADE_WEIGHT for task, trained in tasks.items() if task not in held_out.units)
