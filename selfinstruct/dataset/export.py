"""Export a run as a dataset: splits, a dataset card, and files in the formats of other projects.

    dataset/train.jsonl              the rows to train on
    dataset/validation_seen.jsonl    a further instance of some training tasks
    dataset/validation_unseen.jsonl  every instance of tasks held out as a whole
    dataset/alpaca.json              the training split in the format of Alpaca
    dataset/dataset_info.json        how LLaMA-Factory finds it
    dataset/data/                    the splits as Parquet, with `export.format`; see `further_formats.py`
    dataset/argilla.jsonl            records for Argilla, with `export.format`
    dataset/self_instruct/           all generated tasks in the formats of the reference code
    dataset/preferences.jsonl        pairs of a kept and a bad answer, with `export.preferences`
    dataset/near_evaluation.jsonl    what was left out because it overlaps with an evaluation task, if anything was
    dataset/same_meaning.jsonl       what was left out because another says the same (`export.embedding_model`)
    dataset/README.md                the card
    dataset/export.json              the counts

A hash of the instruction's id decides the split of a row, so the split does not change as the run grows. All rows that
are left out are counted. The files depend only on the journal and the options (and the card on what a model's or a seed
file's own card says of its licence): exporting twice gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

from msgspec import UNSET, structs

from selfinstruct import packaged, text_hash
from selfinstruct.config import tag_quota
from selfinstruct.config.later_stages import Export
from selfinstruct.config.schema import Config, GenerationConfig
from selfinstruct.console import console
from selfinstruct.dataset import tuner_files
from selfinstruct.dataset.card import make_card
from selfinstruct.dataset.edited_card import kept_card, sha256_of
from selfinstruct.dataset.further_formats import write_further
from selfinstruct.dataset.preferences import preferences
from selfinstruct.dataset.selection import select, select_by_quota, tag_histograms
from selfinstruct.dataset.semantic import apart_in_meaning
from selfinstruct.dataset.token_counts import token_counter
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import evaluation_tasks, exported_rows, jsonl, seed_tasks
from selfinstruct.formats.exported_rows import ExportedRow, rows_of
from selfinstruct.formats.families import alpaca, self_instruct
from selfinstruct.formats.licences import dataset_licence, model_licence
from selfinstruct.novelty import tokenize
from selfinstruct.novelty.overlap import EvaluationTexts
from selfinstruct.records import SEEN, SPLITS, TRAIN, UNSEEN, Instruction, SeedTask, Tags, Task
from selfinstruct.run import answer_scores, parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.export_counts import (
    ExportCounts,
    InstanceCounts,
    InstructionCounts,
    MeanWords,
    ParentCounts,
    SourceOfRows,
    write_export_counts,
)
from selfinstruct.run.folders import DatasetDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.parents import ParentRuns
from selfinstruct.run.reviews import fingerprint, summarise
from selfinstruct.run.state import RunState
from selfinstruct.run.task_tags import latest
from selfinstruct.run.without_instances import REMEDY, without_instances
from selfinstruct.text import name_and_number

_NEAR, _SAME_MEANING = "near_evaluation_task", "same_meaning"


@dataclass
class Dataset:
    """The rows of each split, and how many were left out.

    Attributes:
        rows: the rows by split.
        left_out_tasks: number of tasks left out, by reason.
        left_out_rows: number of rows left out, by reason: those of these tasks, and single ones.
        overlaps: each overlap with an evaluation task, as JSON values.
    """

    rows: dict[str, list[ExportedRow]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    left_out_tasks: Counter[str] = field(default_factory=Counter)
    left_out_rows: Counter[str] = field(default_factory=Counter)
    overlaps: list[dict[str, Any]] = field(default_factory=list)


def export(config: Config) -> ExportCounts:
    """Write the dataset of the run in `config.output_dir`. Return the content of `export.json`.

    Rows near an evaluation task are left out. A task file that cannot be read is named and counted, and ends nothing:
    the evaluation, which needs it, compares its tasks with the dataset again.

    Raises:
        NothingToTrainOnError: there is no training row; nothing is written.
        InputError: there is no run, or a file is damaged.
        ConfigError: rows are to be selected by their scores, and have none.
    """
    run = RunDirectory.at(config.output_dir)
    state = run.state(live=True)
    unread: list[InputError] = []
    texts = evaluation_tasks.load_evaluation_texts(config.evaluate.tasks, unread.append)
    evaluation = EvaluationTexts(texts, config.export.eval_threshold)
    for error in unread:
        console.print(f"export: rows were not compared with it: {error}", markup=False)
    seeds: list[SeedTask] = []
    if config.export.include_seeds:
        sha256 = state.header.identity["seeds_sha256"]
        seeds = seed_tasks.load_unchanged_seed_tasks(config.seeds, sha256, ", or export without --include-seeds")
    otherwise = f", or leave their rows out with an empty `parent_runs:` in the run's {run.config_path.name}"
    parent_runs = parents.load_unchanged_parents(config.parent_runs, state.header.identity, otherwise)
    generated = list(state.tasks())
    distinct, alike = apart_in_meaning(generated, parent_runs.tasks, config.export)
    own = split(distinct, seeds, evaluation, config.export, _rejected(run, distinct, config.export))
    own.left_out_tasks[_SAME_MEANING] = len(generated) - len(distinct)
    own.left_out_rows[_SAME_MEANING] = state.num_instances - sum(len(task.instances) for task in distinct)
    of_parents = split(parent_runs.tasks, [], evaluation, config.export) if config.parent_runs else None
    tags = _tags_of_rows(own, state, config.export)
    before = list(own.rows[TRAIN])
    _select(own, config.export, _scores(run, state) if config.export.select_by in ("best", "balanced") else {}, tags)
    seeds_too = config.export.include_seeds
    counts = _count(state, own, config, parent_runs, of_parents, include_seeds=seeds_too, unread=len(unread))
    if tags:
        counts = structs.replace(counts, tags=tag_histograms(before, own.rows[TRAIN], tags))
    rows = {name: [*(of_parents.rows[name] if of_parents else ()), *own.rows[name]] for name in SPLITS}
    if not rows[TRAIN]:
        raise NothingToTrainOnError(_nothing(run, state, counts))
    for name in SPLITS:
        exported_rows.write(run.dataset.split(name), rows[name])
    _write_or_remove(run.dataset.same_meaning, alike)
    _write_or_remove(run.dataset.near_evaluation, [*(of_parents.overlaps if of_parents else ()), *own.overlaps])
    alpaca.write_exported(run.dataset.alpaca, rows[TRAIN])
    tuner_files.describe_export(run.dataset)
    write_further(run.dataset, rows, config.export.format, str(state.header.identity.get("model", "")))
    self_instruct.write_exported(
        run.dataset.self_instruct, _accepted([*parent_runs.states, state]), [*parent_runs.tasks, *generated]
    )
    _write_preferences(run, state, own.rows[TRAIN], config.export)
    card = make_card(state, counts, config.export, _digest(run.dataset))
    kept = kept_card(run.dataset, card)
    counts = structs.replace(counts, card_sha256=sha256_of(card.encode()))
    write_export_counts(run.dataset.counts_path, counts)
    jsonl.write_text(run.dataset.card, kept)
    return counts


def _digest(dataset: DatasetDirectory) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        digest.update(dataset.split(name).read_bytes())
    return digest.hexdigest()[:16]


def _scores(run: RunDirectory, state: RunState) -> dict[str, float]:
    """Return the scores of the run's rows by the latest scorer, by the id of the row."""
    scored = answer_scores.latest(state.scores, None)
    if scored is None:
        raise ConfigError(f"export.select_by: no answer of {run.path} has a score; first: selfinstruct rate {run.path}")
    places = answer_scores.places_of_rows(read_lines(run.journal, live=True))
    return {row: scored[1][answer] for row, answer in places.items() if answer in scored[1]}


def _tags_of_rows(own: Dataset, state: RunState, options: Export) -> dict[str, Tags]:
    """Return the tags of the training rows of a run by the latest tagger, by the id of the row."""
    known = latest(state.tags)
    if options.quota and not known:
        raise ConfigError("export.quota: no task of this run has a tag; first: selfinstruct tag RUN")
    of_rows = ((row.id, known.get(row.id.rpartition("-")[0])) for row in own.rows[TRAIN])
    return {name: tags for name, tags in of_rows if tags is not None}


def _select(own: Dataset, options: Export, scores: Mapping[str, float], tags: Mapping[str, Tags]) -> None:
    """Leave out the training rows that are not selected; seeds stay."""
    if options.select is None:
        return
    written = [row for row in own.rows[TRAIN] if row.origin != "seed"]
    choose = partial(select, by=options.select_by, scores=scores)
    quotas = tag_quota.parse_all(options.quota)
    values = {name: str(getattr(of, quotas[0].kind)) for name, of in tags.items()} if quotas else {}
    chosen = select_by_quota(written, options.select, choose, quotas, values)
    if len(chosen) < len(written):
        own.left_out_rows["not_selected"] += len(written) - len(chosen)
        own.rows[TRAIN] = [*chosen, *(row for row in own.rows[TRAIN] if row.origin == "seed")]


def _write_preferences(run: RunDirectory, state: RunState, rows: Sequence[ExportedRow], options: Export) -> None:
    """Write pairs of answers to the questions of training rows; remove earlier ones where none are wanted."""
    if not options.preferences:
        run.dataset.preferences.unlink(missing_ok=True)
        return
    texts = {instruction.id: instruction.text for instruction in state.pool}
    train = {row.id.rpartition("-")[0] for row in rows}
    scored = answer_scores.latest(state.scores, None)
    pairs = preferences(read_lines(run.journal, live=True), texts, train, scored and scored[1])
    number = jsonl.write(run.dataset.preferences, pairs)
    console.print(f"export: {number:,} pairs of a kept and a bad answer", markup=False)


class NothingToTrainOnError(InputError):
    """A run has no row for the training split."""


def _nothing(run: RunDirectory, state: RunState, counts: ExportCounts) -> str:
    """Return why there is no training row, with the remedy."""
    if why := without_instances(state):
        return f"{run.path}: nothing to export: {why}; {REMEDY.format(run=run.path)}"
    held_out = sum(counts.rows.values())
    left_out = [f"{n:,} are {reason.replace('_', ' ')}" for reason, n in counts.instances.left_out.items()]
    why = ", ".join([f"{held_out:,} are held out for validation", *left_out])
    return (
        f"{run.path}: nothing to export: of {state.num_instances:,} instances {why}, and none is left for training; "
        "generate more instructions, or lower --validation-unseen"
    )


def _accepted(states: Iterable[RunState]) -> list[tuple[Instruction, bool | None]]:
    """Return (instruction, whether it is a classification task) of runs; None if that is not known."""
    return [(i, state.is_classification.get(i.id)) for state in states for i in state.pool]


def export_seeds(names: Sequence[str], folder: DatasetDirectory) -> int:
    """Write a training set that holds only the seed tasks. Return its number of rows.

    It is the baseline for the generated data.

    Args:
        names: the seed files.
        folder: folder of the dataset.
    """
    rows = [row for seed in seed_tasks.load_seed_tasks(names) for row in rows_of(_seed_task(seed))]
    exported_rows.write(folder.split(TRAIN), rows)
    for name in (SEEN, UNSEEN):
        exported_rows.write(folder.split(name), [])
    return len(rows)


def _rejected(run: RunDirectory, tasks: Iterable[Task], options: Export) -> frozenset[str]:
    """Return the ids of the rows that reviewers rejected, if these are to be left out."""
    if not options.without_rejected_reviews:
        return frozenset()
    rows = (row for task in tasks for row in rows_of(task))
    summary = summarise(run.reviews(), {row.id: fingerprint(row.instruction, row.input, row.output) for row in rows})
    return summary.rejected if summary else frozenset()


def split(
    tasks: Sequence[Task],
    seeds: Sequence[SeedTask],
    evaluation: EvaluationTexts,
    options: Export,
    rejected: Collection[str] = (),
) -> Dataset:
    """Distribute tasks over the splits.

    Args:
        tasks: generated tasks.
        seeds: seed tasks; added to the training split if `options.include_seeds` is set.
        evaluation: evaluation tasks; a generated task or row that overlaps with one is left out.
        options: shares and threshold.
        rejected: ids of rows to leave out, because reviewers rejected them.
    """
    dataset = Dataset()
    for task in tasks:
        written = rows_of(task, thinks_in_text=options.thinking == "text")
        apart = list(compress(written, _apart(task, evaluation, dataset)))
        rows = [row for row in apart if row.id not in rejected]
        if len(rows) < len(apart):
            dataset.left_out_tasks["rejected_by_review"] += not rows
            dataset.left_out_rows["rejected_by_review"] += len(apart) - len(rows)
        if _hash_share(task.id, "unseen") < options.validation_unseen:
            dataset.rows[UNSEEN] += rows
        elif len(rows) > 1 and _hash_share(task.id, "seen") < options.validation_seen:
            dataset.rows[SEEN].append(rows.pop())
            dataset.rows[TRAIN] += rows
        else:
            dataset.rows[TRAIN] += rows
    if options.include_seeds:
        dataset.rows[TRAIN] += [row for seed in seeds for row in rows_of(_seed_task(seed))]
    return dataset


def _apart(task: Task, evaluation: EvaluationTexts, dataset: Dataset) -> list[bool]:
    """Return, for each instance of a task, whether it is apart from all evaluation tasks; count the others."""
    about = {"id": task.id, "instruction": task.instruction}
    if (overlap := evaluation.find(task.instruction)) is not None:
        dataset.overlaps.append(about | overlap.to_json())
        dataset.left_out_tasks[_NEAR] += 1
        dataset.left_out_rows[_NEAR] += len(task.instances)
        return [False] * len(task.instances)
    inputs = [(instance.input, evaluation.find("", instance.input)) for instance in task.instances]
    overlaps = [about | {"input": text} | overlap.to_json() for text, overlap in inputs if overlap is not None]
    dataset.overlaps += overlaps
    if overlaps:
        dataset.left_out_rows[_NEAR] += len(overlaps)
    return [overlap is None for _, overlap in inputs]


def _write_or_remove(path: Path, left_out: Sequence[dict[str, Any]]) -> None:
    """Write what was left out, with the reason; no file if nothing was."""
    if left_out:
        jsonl.write(path, left_out)
    else:
        path.unlink(missing_ok=True)


def _hash_share(task_id: str, purpose: str) -> float:
    """Return a number in [0, 1). It is always the same for a task, also in the datasets of later runs."""
    return text_hash.share(f"{purpose}/{parents.own_id(task_id)}")


def _seed_task(seed: SeedTask) -> Task:
    return Task(seed.id, seed.instruction, seed.instances, seed.is_classification, "seed")


def _count(
    state: RunState,
    own: Dataset,
    config: GenerationConfig,
    parent_runs: ParentRuns,
    of_parents: Dataset | None,
    *,
    include_seeds: bool,
    unread: int,
) -> ExportCounts:
    with_instances = sum(1 for kept in state.instances.values() if kept)
    datasets = [own] if of_parents is None else [of_parents, own]
    rows = {name: sum(len(dataset.rows[name]) for dataset in datasets) for name in SPLITS}
    by_split = [row for name in SPLITS for dataset in datasets for row in dataset.rows[name]]
    return ExportCounts(
        instructions=InstructionCounts(
            accepted=len(state.pool),
            with_instances=with_instances,
            without_instances=len(state.pool) - with_instances,
            left_out=dict(+own.left_out_tasks),
        ),
        instances=InstanceCounts(accepted=state.num_instances, left_out=dict(+own.left_out_rows)),
        include_seeds=include_seeds,
        parents=UNSET if of_parents is None else _count_parents(parent_runs, of_parents),
        rows=rows,
        origins=dict(Counter(row.origin for row in by_split)),
        sources=_sources(by_split, config),
        mean_words=_mean_words(by_split),
        outputs_left=len(state.outputs_left()) or UNSET,
        evaluation_unread=unread or UNSET,
    )


def _sources(rows: Sequence[ExportedRow], config: GenerationConfig) -> list[SourceOfRows]:
    """Return where rows come from, with what is said there of the licence."""
    seeds = [name_and_number(name)[0] for name in config.seeds]
    licences = dict.fromkeys(dataset_licence(packaged.resolve(name)) or "not stated" for name in seeds)
    said = {
        "generated": (config.model, model_licence(config.model)),
        "earlier": ("parent runs", ""),
        "seed": (", ".join(s if packaged.is_packaged(s) else Path(s).name for s in seeds), ", ".join(licences)),
    }
    count_tokens = token_counter(config.model)
    return [
        SourceOfRows(
            origin=origin,
            name=said[origin][0],
            licence=said[origin][1],
            rows=len(of_origin),
            words=sum(len(tokenize(" ".join(_texts(row)))) for row in of_origin),
            tokens=count_tokens([text for row in of_origin for text in _texts(row)]) if count_tokens else None,
        )
        for origin in said
        if (of_origin := [row for row in rows if row.origin == origin])
    ]


def _texts(row: ExportedRow) -> tuple[str, str, str]:
    return row.instruction, row.input, row.output


def _count_parents(parent_runs: ParentRuns, dataset: Dataset) -> ParentCounts:
    return ParentCounts(
        runs=len(parent_runs.states),
        instructions=InstructionCounts(
            accepted=len(parent_runs.instructions),
            with_instances=len(parent_runs.tasks),
            left_out=dict(+dataset.left_out_tasks),
        ),
        instances=InstanceCounts(
            accepted=sum(len(task.instances) for task in parent_runs.tasks), left_out=dict(+dataset.left_out_rows)
        ),
        rows={name: len(rows) for name, rows in dataset.rows.items()},
    )


def _mean_words(rows: Iterable[ExportedRow]) -> MeanWords:
    """Return the mean number of words of machine-written rows. Each instruction counts once."""
    written = [row for row in rows if row.origin != "seed"]
    return MeanWords(
        instruction=_mean({row.instruction for row in written}),
        input=_mean([row.input for row in written if row.input]),
        output=_mean([row.output for row in written if row.output]),
    )


def _mean(texts: Collection[str]) -> float | None:
    return round(sum(len(tokenize(text)) for text in texts) / len(texts), 1) if texts else None


def require_dataset(run: RunDirectory) -> None:
    """Raise `InputError` if the run has no exported dataset with training rows."""
    train = run.dataset.split(TRAIN)
    if not train.exists():
        raise InputError(f"{run.path}: no dataset yet; make one with `selfinstruct export {run.path}`")
    if train.stat().st_size == 0:
        raise InputError(
            f"{train}: holds no rows, so there is nothing to train on; see `selfinstruct status {run.path}`"
        )
