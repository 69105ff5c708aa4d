"""Collect the content of the report from the files of the run directory.

Only the seed texts come from outside: from the run's seed files. They are used only if they have not changed since the
run was made (their fingerprint is in the journal).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from selfinstruct.config.schema import DEMO_MODEL, Config
from selfinstruct.engines.serving import serve_command
from selfinstruct.errors import SelfInstructError
from selfinstruct.formats import seed_tasks
from selfinstruct.generation import stop_rules
from selfinstruct.records import SEEN, TRAIN, UNSEEN, SeedTask
from selfinstruct.report import outcome
from selfinstruct.report.funnel import Part, Step
from selfinstruct.report.generation_stats import GenerationStats, gather_stats
from selfinstruct.report.outcome import Evaluation, Training
from selfinstruct.report.rated import Rated, rated
from selfinstruct.report.variety import Variety, variety
from selfinstruct.run import parents
from selfinstruct.run.classification_share import odd_share
from selfinstruct.run.control_lines import BudgetUsedUp, DeadlineReached, Saturated, Stop
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.export_counts import ExportCounts
from selfinstruct.run.lines import Header
from selfinstruct.run.reviews import ReviewSummary, fingerprint, summarise
from selfinstruct.run.spending import Spending, spending
from selfinstruct.run.state import RunState
from selfinstruct.text import duration, shorten

REAL_RUN = "selfinstruct init night.yaml --model Qwen/Qwen3-8B-Base\nselfinstruct run night.yaml"
"""The suggested commands after a demo."""


@dataclass(frozen=True)
class PaperComparison:
    """A number of this run, and the paper's; `digits` are the decimals to show."""

    name: str
    here: float | None
    paper: float
    digits: int = 0


@dataclass(frozen=True)
class RunFile:
    """A file or folder of the run, with a description; `size` is in bytes, None for a folder."""

    path: str
    size: int | None
    description: str


@dataclass(frozen=True)
class NextCommand:
    """A command to run next, and what it is for."""

    purpose: str
    command: str


@dataclass(frozen=True)
class Report:
    """The whole content of the page.

    Attributes:
        name: of the run.
        path: of the run directory, as the caller wrote it.
        is_demo: whether the embedded demo model wrote the data.
        unfinished: why generation is not at its target; empty when it is.
        failed: why tuning failed; empty when it did not.
        cut: what a deadline left out or shortened, in sentences.
        facts: what was done, as (name, value).
        spending: tokens by kind of request, hours of the engine, and their cost where a price was given.
        threshold: of the novelty filter.
        paper: numbers of this run with those of the paper.
        generation: statistics of generation.
        variety: how varied the instructions and rows are.
        rated: what scorers say about the answers.
        options: (name, value) of every option and fingerprint that the data depends on.
        rows: the last step of the funnel, from instances to dataset rows; None without a dataset.
        dataset: the counts of the export; None without one.
        dataset_is_old: whether the run has changed since the export.
        trainings: (title, training) of each tuned model.
        evaluation: the scores.
        review: what people say about rows; None if nobody read one.
        files: the files and folders of the run.
        next_commands: commands to run next, the most useful first.
    """

    name: str
    path: str
    is_demo: bool
    unfinished: str
    failed: str
    cut: list[str]
    facts: list[tuple[str, str]]
    spending: Spending
    threshold: float
    paper: list[PaperComparison]
    generation: GenerationStats
    variety: Variety
    rated: list[Rated]
    options: list[tuple[str, str]]
    rows: Step | None
    dataset: ExportCounts | None
    dataset_is_old: bool
    trainings: list[tuple[str, Training]]
    evaluation: Evaluation | None
    review: ReviewSummary | None
    files: list[RunFile]
    next_commands: list[NextCommand]


def collect(run_dir: Path, gpu_price: float | None = None) -> Report:
    """Return the content of the report of a run.

    Args:
        run_dir: the run directory.
        gpu_price: what the engine's GPUs cost per hour, all together.

    Raises:
        InputError: `run_dir` is not a run directory, or one of its files is damaged.
    """
    run = RunDirectory(run_dir)
    run.require_journal()
    config = _config(run)
    header = run.header()
    seeds = _seeds(config.seeds if config else (), header)
    known = {task.id: task.instruction for task in seeds}
    known |= _parent_instructions(config.parent_runs if config else ())
    generation = gather_stats(run.journal, known, run.metrics())
    dataset = run.dataset.export_counts() if run.dataset.counts_path.exists() else None
    trainings = _trainings(run)
    evaluation = outcome.evaluation(run.evaluation)
    identity = header.identity
    is_demo = identity.get("model") == DEMO_MODEL
    dataset_is_current = dataset is not None and dataset.is_current(generation.state)
    return Report(
        name=run_dir.resolve().name,
        path=str(run_dir),
        is_demo=is_demo,
        unfinished=_unfinished(run, generation.state),
        failed=shorten(run.model.failure or "", 600),
        cut=run.cut_by_deadline(),
        facts=_facts(
            header,
            seeds,
            generation,
            seed_files=config.seeds if config else (),
            tuned_from=config.tune.model if config else None,
        ),
        spending=spending(generation.state, run.metrics(), gpu_price),
        threshold=(identity.get("filters") or {}).get("threshold", 0.7),
        paper=_paper(generation, seeds),
        generation=generation,
        variety=variety(generation.state, seeds),
        rated=rated(generation.state),
        options=_options(header),
        rows=_rows(dataset) if dataset else None,
        dataset=dataset,
        dataset_is_old=dataset is not None and not dataset_is_current,
        trainings=trainings,
        evaluation=evaluation,
        review=_review(run, generation.state),
        files=_files(run),
        next_commands=_next_commands(
            run,
            generation.state,
            is_demo=is_demo,
            dataset_is_current=dataset_is_current,
            tuned=bool(trainings) and run.model.failure is None,
            evaluation=evaluation,
        ),
    )


def _trainings(run: RunDirectory) -> list[tuple[str, Training]]:
    titles = {"On the generated data": run.model, "On the seeds alone, as a baseline": run.seeds_model}
    trainings = ((title, outcome.training(model)) for title, model in titles.items())
    return [(title, training) for title, training in trainings if training is not None]


def _review(run: RunDirectory, state: RunState) -> ReviewSummary | None:
    texts = {
        f"{task.id}-{number}": fingerprint(task.instruction, one.input, one.output)
        for task in state.tasks()
        for number, one in enumerate(task.instances)
    }
    return summarise(run.reviews(), texts)


def _config(run: RunDirectory) -> Config | None:
    try:
        return run.config()
    except SelfInstructError:
        return None  # It is missing or damaged: the report leaves out what depends on it.


def _seeds(names: Sequence[str], header: Header) -> list[SeedTask]:
    """Return the run's seed tasks; none when their files are missing or have changed since."""
    try:
        tasks = seed_tasks.load_seed_tasks(names)
    except SelfInstructError:
        return []
    recorded = header.identity.get("seeds_sha256")
    return tasks if seed_tasks.fingerprint(tasks) == recorded else []


def _parent_instructions(names: Sequence[str]) -> dict[str, str]:
    """Return the instructions of parent runs by id; none when the runs are missing."""
    try:
        return {i.id: i.text for i in parents.load_parents(names).instructions}
    except SelfInstructError:
        return {}


def _unfinished(run: RunDirectory, state: RunState) -> str:
    """Return why generation is not at its target; empty when it is."""
    accepted = len(state.pool)
    if not state.begun:
        return "Generation has not begun: the journal is empty."
    if outputs := len(state.outputs_left()):
        return f"{outputs:,} outputs still wait to be rewritten."
    if why := stop_rules.reason(run, state):
        return f"Generation stopped early, at {accepted:,} of {state.target:,} instructions: {why.rstrip('.')}."
    if state.complete:
        return ""
    left = len(state.pending())
    return f"Generation has not finished: {accepted:,} of {state.target:,} instructions are accepted" + (
        f", and {left:,} of them still wait for their instances." if left else "."
    )


def _facts(
    header: Header,
    seeds: list[SeedTask],
    generation: GenerationStats,
    *,
    seed_files: Sequence[str],
    tuned_from: str | None,
) -> list[tuple[str, str]]:
    """Return facts about the run as (name, value); `seed_files` is empty when the configuration is missing."""
    identity, resolved = header.identity, header.resolved
    model, revision = str(identity.get("model", "unknown")), identity.get("revision")
    facts = [("Generator", f"{model} at {revision}" if revision else model)]
    if seeds:
        classification = sum(seed.is_classification for seed in seeds)
        counts = f"{len(seeds)} tasks, {classification} of them classification"
        facts.append(("Seeds", f"{counts} ({', '.join(seed_files)})"))
    elif seed_files:
        facts.append(("Seeds", f"{', '.join(seed_files)} (changed or moved since the run)"))
    if rewriter := identity.get("regenerate"):
        facts.append(("Outputs", f"rewritten by {rewriter.get('model')}"))
    if origin := header.refiltered_from:
        facts.append(("Filtered again", f"from the candidates of {origin.run}; the prompts drew on that run's pool"))
    facts.append(("Target", f"{generation.state.target:,} instructions"))
    facts.append(("Run seed", str(identity.get("seed", "unknown"))))
    style = "chat template" if resolved.get("style") == "chat" else "text completion"
    facts.append(("Prompting", f"{style}, context of {resolved.get('context_length', 0):,} tokens"))
    if tuned_from:
        facts.append(("Model tuned", tuned_from))
    if generation.pace:
        pace = generation.pace
        sessions = f" in {len(pace.sessions)} sessions" if len(pace.sessions) > 1 else ""
        when = pace.began if pace.began == pace.ended else f"{pace.began} to {pace.ended}"
        facts.append(("Generated", f"{when}, {duration(pace.seconds)} of work{sessions}"))
    for name, measured in generation.state.header.calibration.items():
        believed = "not believed" if measured.threshold is None else f"yes from log-odds {measured.threshold:.2f}"
        facts.append((_QUESTIONS[name], f"AUC {measured.auc:.2f} on {measured.yes + measured.no} texts: {believed}"))
    if odd := odd_share(generation.state):
        facts.append(("Classification tasks", odd))
    tokens = generation.state.completion_tokens, generation.state.prompt_tokens
    facts.append(("Tokens", f"{tokens[0]:,} written, {tokens[1]:,} read in prompts"))
    return facts


def _options(header: Header) -> list[tuple[str, str]]:
    """Return every option and fingerprint of the journal's header as (name with its section, value)."""

    def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from flat(value, f"{before}{name}.")
            else:
                yield shorten(before + name, 60), shorten("none" if value is None else value, 200)

    return [("journal", f"version {header.version}"), *flat(header.identity), *flat(header.resolved)]


def _paper(generation: GenerationStats, seeds: list[SeedTask]) -> list[PaperComparison]:
    """Return numbers of this run with those of table 1 of the paper."""
    state, words = generation.state, generation.mean_words
    classification = sum(seed.is_classification for seed in seeds)
    of_seeds = [
        PaperComparison("seed tasks", len(seeds), 175),
        PaperComparison("of them classification", classification, 25),
    ]
    return [
        *(of_seeds if seeds else []),
        PaperComparison("instructions accepted", len(state.pool), 52_445),
        PaperComparison("of them classification", sum(state.is_classification.values()), 11_584),
        PaperComparison("instances kept", state.num_instances, 82_439),
        PaperComparison("of them with an empty input", generation.empty_inputs, 35_878),
        PaperComparison("mean words of an instruction", words["instruction"], 15.9, 1),
        PaperComparison("mean words of an input that is not empty", words["input"], 12.7, 1),
        PaperComparison("mean words of an output", words["output"], 18.9, 1),
    ]


def _rows(dataset: ExportCounts) -> Step:
    """Return the step from accepted instances to rows. Rows of seed tasks and of parent runs are not counted."""
    rows = dict(dataset.rows)
    rows[TRAIN] -= dataset.origins.get("seed", 0)
    for name, n in dataset.parents.rows.items() if dataset.parents else ():
        rows[name] -= n
    left_out = [Part(name, n) for name, n in dataset.instances.left_out.items()]
    splits = [Part(name, n, True) for name, n in rows.items()]
    return Step("Instances at the export", dataset.instances.accepted, [*splits, *left_out])


_QUESTIONS = {"is_task": "Is it a task?", "classification": "Is it a classification task?"}
"""The calibrated questions of the journal's header in words."""
_PARTS = {
    "predictions": "questions and answers of one arm",
    "consistency": "its answers to paraphrases, and sampled ones",
    "ifeval": "its answers under constraints that a program checks",
    "constraints": "its answers under constraints of the project's own types",
    "plain-text": "its log-probabilities of plain text",
    "judgements": "the tuned model's answers judged against this arm's",
    "lm-eval": "its results in lm-eval's tasks",
}
"""Descriptions of an evaluation's files, by the beginning of the file name."""


def _files(run: RunDirectory) -> list[RunFile]:
    """Return the files and folders of the run that exist, with descriptions."""
    descriptions = {
        run.journal: "every request, answer and decision, append-only",
        run.metrics_path: "wall-clock measurements",
        run.config_path: "the whole configuration",
        run.reviews_path: "what people say about rows",
        run.dataset.path: "the dataset with its card, also as Alpaca and Self-Instruct files",
        run.dataset.split(TRAIN): "training rows",
        run.dataset.split(SEEN): "more instances of tasks that are in the training rows",
        run.dataset.split(UNSEEN): "tasks of which no instance is in the training rows",
        run.model.path: "the tuned model with its tokenizer and chat template",
        run.seeds_model.path: "the baseline that is tuned on the seeds alone",
        run.evaluation.scores_path: "scores, intervals and comparisons",
    }
    for part, text in _PARTS.items():
        descriptions |= {run.evaluation.rows(part, arm): text for arm in run.evaluation.arms(part)}
    return [
        RunFile(str(path.relative_to(run.path)), path.stat().st_size if path.is_file() else None, text)
        for path, text in descriptions.items()
        if path.exists()
    ]


def _continue_after(stop: Stop, generate: str) -> NextCommand:
    """Return the command that continues a run that stopped."""
    match stop:
        case DeadlineReached():
            return NextCommand("continue without the deadline", generate)
        case BudgetUsedUp():
            option = stop.limit.replace("_", "-")
            return NextCommand("continue with a larger budget", f"{generate} --{option} {2 * stop.value}")
        case Saturated():
            loosened = "min-acceptance 0" if stop.cause == "acceptance" else "max-degenerate 1"
            return NextCommand("continue although the run is saturated", f"{generate} --saturation.{loosened}")
        case _ as never:
            assert_never(never)


def _regenerate_command(header: Header, path: str) -> str:
    source, model = shlex.quote(str(header.source)), shlex.quote(header.identity["regenerate"]["model"])
    return f"selfinstruct regenerate {source} --model {model} --output-dir {path}"


def _next_commands(
    run: RunDirectory,
    state: RunState,
    *,
    is_demo: bool,
    dataset_is_current: bool,
    tuned: bool,
    evaluation: outcome.Evaluation | None,
) -> list[NextCommand]:
    """Return the commands to run next, the most useful first: not to serve a model that is no better."""
    path = shlex.quote(str(run.path))
    generate = f"selfinstruct generate --output-dir {path}"
    commands = []
    if state.header.regenerates:
        if state.outputs_left() or state.pending():
            commands.append(NextCommand("finish rewriting the outputs", _regenerate_command(state.header, path)))
    elif state.stopped is not None and len(state.pool) < state.target:
        commands.append(_continue_after(state.stopped, generate))
    elif not state.complete:
        commands.append(NextCommand("finish generation", generate))
    if not dataset_is_current:
        commands.append(NextCommand("write the dataset", f"selfinstruct export {path}"))
    if not tuned:
        commands.append(NextCommand("tune a model on it", f"selfinstruct tune {path}"))
    if evaluation is None:
        commands.append(NextCommand("measure whether it helped", f"selfinstruct evaluate {path}"))
    use, better = [], []
    if tuned and run.model.is_adapter:  # Its card says how it is served.
        use.append(NextCommand("talk to the tuned model", f"selfinstruct chat {path}"))
    elif tuned:
        use.append(NextCommand("serve the tuned model", serve_command(run.model.path)))
    if state.num_instances and not run.reviews_path.exists():
        better.append(NextCommand("read some rows, and say whether they are right", f"selfinstruct review {path}"))
    if state.complete and not state.header.regenerates:
        better.append(NextCommand("grow the run further", f"{generate} --num-instructions {2 * state.target}"))
    commands += better + use if evaluation is not None and not evaluation.gained else use + better
    if is_demo:
        commands.append(NextCommand("do the same with a real model", REAL_RUN))
    return commands
