"""A run becomes a dataset: splits, a dataset card, and the formats of others.

    dataset/train.jsonl              what is trained on
    dataset/validation_seen.jsonl    a further instance of some training tasks
    dataset/validation_unseen.jsonl  every instance of tasks held out as a whole
    dataset/alpaca.json              the training split as Alpaca has it
    dataset/self_instruct/           all generated tasks in the reference code's own formats
    dataset/README.md                the card
    dataset/export.json              the counts

A row's split follows from a hash of its instruction's id, so that it stays put as the run grows. Everything left out
is counted. The output is a function of the journal and the options: exporting twice gives identical bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfinstruct.config.schema import Config, Export
from selfinstruct.errors import InputError
from selfinstruct.formats import alpaca, evaluation_tasks, jsonl, seed_tasks, self_instruct
from selfinstruct.novelty import NoveltyIndex, tokenize
from selfinstruct.records import SPLITS, TRAIN, Instruction, SeedTask, Task, user_message
from selfinstruct.run import parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import DatasetDirectory
from selfinstruct.run.parents import Earlier
from selfinstruct.run.state import RunState

Row = dict[str, Any]


@dataclass
class Dataset:
    """The rows of each split, and what was left out: (tasks, rows) by reason."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    left_out_tasks: Counter[str] = field(default_factory=Counter)
    left_out_rows: Counter[str] = field(default_factory=Counter)


def export(config: Config) -> dict[str, Any]:
    """Write the dataset of the run in `config.output_dir`; returns the counts that `export.json` holds.

    Raises:
        InputError: there is no run, or a file is broken.
    """
    run = RunDirectory.at(config.output_dir)
    run.require_journal()
    evaluation = evaluation_tasks.instructions(config.evaluate.tasks)
    state = run.state(live=True)
    seeds: list[SeedTask] = []
    if config.export.include_seeds:
        sha256 = state.header.identity["seeds_sha256"]
        seeds = seed_tasks.load_unchanged_seed_tasks(config.seeds, sha256, ", or export without --include-seeds")
    otherwise = ", or leave their rows out with an empty `earlier:` in the run's config.yaml"
    earlier = parents.load_unchanged_parents(config.parent_runs, state.header.identity, otherwise)
    generated = list(state.tasks())
    dataset = split(generated, seeds, evaluation, config.export)
    counts = _counts(state, dataset, config)
    if config.parent_runs:
        before = split(earlier.tasks, [], evaluation, config.export)
        counts |= _counts_of_earlier(earlier, before)
        for name, rows in dataset.rows.items():
            rows[:0] = before.rows[name]
    counts |= _counts_of_rows(dataset)
    for name, rows in dataset.rows.items():
        jsonl.write(run.dataset.split(name), rows)
    alpaca.write(run.dataset.alpaca, dataset.rows["train"])
    self_instruct.write(run.dataset.self_instruct, _accepted([*earlier.states, state]), [*earlier.tasks, *generated])
    jsonl.write_json(run.dataset.counts_path, counts)
    jsonl.write_text(run.dataset.card, card(config, state, counts))
    return counts


def _accepted(states: Iterable[RunState]) -> list[tuple[Instruction, bool | None]]:
    """Accepted instructions of runs, with whether each is a classification task, where that is known."""
    return [(i, state.is_classification.get(i.id)) for state in states for i in state.pool]


def export_seeds(config: Config, folder: DatasetDirectory) -> int:
    """Write a training set of the seed tasks alone, the baseline that generated data must beat; returns its rows."""
    seeds = seed_tasks.load_seed_tasks(config.seeds)
    rows = [row for task in map(_seed_task, seeds) for row in _rows(task)]
    jsonl.write(folder.split(TRAIN), rows)
    for name in SPLITS[1:]:
        jsonl.write(folder.split(name), [])
    return len(rows)


def split(tasks: Sequence[Task], seeds: Sequence[SeedTask], evaluation: Sequence[str], options: Export) -> Dataset:
    """Distribute tasks over the splits.

    Args:
        tasks: generated tasks.
        seeds: seed tasks; in the training split when `options.include_seeds`.
        evaluation: instructions of evaluation tasks; a generated task close to one is left out altogether.
        options: shares and threshold.
    """
    dataset = Dataset()
    near_evaluation = NoveltyIndex(evaluation, options.eval_threshold)
    for task in tasks:
        nearest = near_evaluation.nearest(task.instruction)
        if nearest and nearest[0].score > options.eval_threshold:
            dataset.left_out_tasks["near_evaluation_task"] += 1
            dataset.left_out_rows["near_evaluation_task"] += len(task.instances)
            continue
        rows = _rows(task)
        if _share(task.id, "unseen") < options.validation_unseen:
            dataset.rows["validation_unseen"] += rows
        elif len(rows) > 1 and _share(task.id, "seen") < options.validation_seen:
            dataset.rows["validation_seen"].append(rows.pop())
            dataset.rows["train"] += rows
        else:
            dataset.rows["train"] += rows
    if options.include_seeds:
        dataset.rows["train"] += [row for seed in seeds for row in _rows(_seed_task(seed))]
    return dataset


def _share(task_id: str, purpose: str) -> float:
    """A number in [0, 1) that belongs to the task for ever: in the datasets of later runs too."""
    own = parents.own_id(task_id)
    return int.from_bytes(hashlib.sha256(f"{purpose}/{own}".encode()).digest()[:8], "big") / 2**64


def _seed_task(seed: SeedTask) -> Task:
    return Task(seed.id, seed.instruction, seed.instances, seed.is_classification, "seed")


def _rows(task: Task) -> list[Row]:
    return [
        {
            "id": f"{task.id}-{k}",
            "instruction": task.instruction,
            "input": instance.input,
            "output": instance.output,
            "is_classification": task.is_classification,
            "origin": task.origin,
            "prompt": [{"role": "user", "content": user_message(task.instruction, instance.input)}],
            "completion": [{"role": "assistant", "content": instance.output}],
        }
        for k, instance in enumerate(task.instances)
    ]


def _counts(state: RunState, dataset: Dataset, config: Config) -> dict[str, Any]:
    """What is counted of the run itself."""
    with_instances = sum(1 for kept in state.instances.values() if kept)
    return {
        "instructions": {
            "accepted": len(state.pool),
            "with_instances": with_instances,
            "without_instances": len(state.pool) - with_instances,
            "left_out": dict(dataset.left_out_tasks),
        },
        "instances": {"accepted": state.num_instances, "left_out": dict(dataset.left_out_rows)},
        "include_seeds": config.export.include_seeds,
    }


def _counts_of_earlier(earlier: Earlier, dataset: Dataset) -> dict[str, Any]:
    """What is counted of earlier runs."""
    return {
        "earlier": {
            "runs": len(earlier.states),
            "instructions": {
                "accepted": len(earlier.instructions),
                "with_instances": len(earlier.tasks),
                "left_out": dict(dataset.left_out_tasks),
            },
            "instances": {
                "accepted": sum(len(task.instances) for task in earlier.tasks),
                "left_out": dict(dataset.left_out_rows),
            },
            "rows": {name: len(found) for name, found in dataset.rows.items()},
        }
    }


def _counts_of_rows(dataset: Dataset) -> dict[str, Any]:
    """What is counted of the dataset as a whole."""
    return {
        "rows": {name: len(found) for name, found in dataset.rows.items()},
        "origins": dict(Counter(row["origin"] for found in dataset.rows.values() for row in found)),
        "mean_words": {name: _mean_words(dataset.rows.values(), name) for name in ("instruction", "input", "output")},
    }


def _mean_words(splits: Iterable[list[Row]], name: str) -> float | None:
    """Mean words of the non-empty texts of one field of machine-written rows; each instruction counts once."""
    rows = [row for rows in splits for row in rows if row["origin"] != "seed"]
    texts = {row["instruction"] for row in rows} if name == "instruction" else [row[name] for row in rows if row[name]]
    return round(sum(len(tokenize(t)) for t in texts) / len(texts), 1) if texts else None


def require_dataset(run: RunDirectory) -> None:
    """Raise `InputError` unless the run has an exported dataset with training rows."""
    train = run.dataset.split(TRAIN)
    if not train.exists():
        raise InputError(f"{run.path}: no dataset yet; make one with `selfinstruct export {run.path}`")
    if train.stat().st_size == 0:
        raise InputError(f"{train}: holds no rows, so there is nothing to learn; see `selfinstruct status {run.path}`")


def card(config: Config, state: RunState, counts: dict[str, Any]) -> str:
    """The dataset card: Hugging Face front matter, provenance, counts and limits."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selfinstruct.dataset"),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    identity = state.header.identity
    counted = [part for part in (counts, counts.get("earlier")) if part]
    return environment.get_template("dataset_card.md").render(
        counts=counts,
        left_out={
            "instructions": sum(sum(part["instructions"]["left_out"].values()) for part in counted),
            "rows": sum(sum(part["instances"]["left_out"].values()) for part in counted),
        },
        identity=identity,
        resolved=state.header.resolved,
        refiltered_from=state.header.refiltered_from,
        summary=state.counts(),
        options=config.export,
    )
