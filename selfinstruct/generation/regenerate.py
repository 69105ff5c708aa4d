"""`selfinstruct regenerate`: a better or a tuned model rewrites the outputs of a finished run.

Instructions and inputs stay as they are. The model answers each of them zero-shot, through its chat template. (In the
paper's study of data quality, outputs rewritten by a better model were the largest single gain.) A model without a
template is a base model, and answers after examples from the seeds.

The result is a run directory of its own. Its journal begins with the lines of the source run, so that everything that
reads a run reads it, too; then comes one `OutputLine` per instance. Where the new output is rejected or the request
failed, the old one stays: it has passed the same filters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

import msgspec

from selfinstruct import records
from selfinstruct.config import earlier_defaults
from selfinstruct.config.engine_arguments import of_identity, of_other_models
from selfinstruct.config.later_stages import Regenerate
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Answer, Config
from selfinstruct.config.section import Sampling
from selfinstruct.console import AnswerProgress, console
from selfinstruct.engines.base import Engine, RequestFailed, most_in_flight
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation import stop_rules
from selfinstruct.generation.answering import Answering
from selfinstruct.generation.examples import Examples, few_shot_examples
from selfinstruct.generation.filters.rows import row_check
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.in_order import running
from selfinstruct.generation.prompts import PROMPTS_VERSION
from selfinstruct.generation.session import opened
from selfinstruct.generation.supervision import StartEngine
from selfinstruct.records import Instance, Instruction, Style
from selfinstruct.run import ownership, parents, task_tags
from selfinstruct.run.control_lines import Control
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter, read_lines, read_raw_lines
from selfinstruct.run.lines import (
    AnswerLine,
    ClassificationLine,
    Failure,
    Header,
    InstancesLine,
    Line,
    OutputLine,
    ProposalLine,
    ScoreLine,
    TagsLine,
    rewrite,
)
from selfinstruct.run.parents import ParentRuns
from selfinstruct.run.state import RunState
from selfinstruct.signals import until_signal


def regenerate(source: Path, config: Config, start_engine: StartEngine, *, overwrite: bool = False) -> RunState:
    """Rewrite the outputs of the run in `source` into `config.output_dir`; continue the run that is there.

    Args:
        source: a run whose generation is finished.
        config: its configuration with `output_dir`, the new run's directory, and `regenerate.model`.
        start_engine: starts the model that answers; called only when there are requests to make.
        overwrite: discard the run that is in `output_dir`.

    Returns:
        The new run's state.

    Raises:
        ConfigError: no model or directory is given, or the directory holds another run.
        InputError: `source` is no run, is unfinished, or has rewritten outputs itself.
        EngineError: the engine died; the same command continues.
        Interrupted: by a signal; likewise.
        RunLockedError: another process writes the directory.
    """
    if config.regenerate.model is None:
        raise ConfigError("name the model that writes the new outputs: --model MODEL")
    run = RunDirectory.at(config.output_dir)
    if run.path.resolve() == source.resolve():
        raise ConfigError(f"{run.path}: a run is not rewritten in place; give another --output-dir")
    before = _finished(RunDirectory(source))
    config = earlier_defaults.continuing(config.anchored(), before.header.identity)
    arguments = engine_arguments(config.model, config.engine, config.regenerate)
    identity = {**before.header.identity, "regenerate": _identity(config.regenerate, arguments, before)}
    reads = [*config.inputs(), str(source)]
    with opened(run, identity, dump_yaml(config.kept()), reads, overwrite=overwrite) as state:
        if state.begun and (state.pending() or state.proposals < before.proposals):
            _copy_lost_lines(RunDirectory(source), run, state)
        if not state.begun or state.outputs_left():
            header = msgspec.structs.replace(before.header, identity=identity, source=str(source.resolve()))
            asyncio.run(_rewrite(config, run, state, header, RunDirectory(source), start_engine))
    return state


def engine_arguments(model: str, engine: dict[str, Any], options: Regenerate) -> dict[str, Any]:
    """Return vLLM's arguments for the model that rewrites.

    They are the run's, without those that belong to another generator's files, and then the rewriter's own.

    Args:
        model: the generator.
        engine: the generator's arguments.
        options: of the rewriting.
    """
    shared = engine if options.model == model else of_other_models(engine)
    return shared | options.engine


def _finished(source: RunDirectory) -> RunState:
    """Return the state of the source run; raise `InputError` when it cannot be rewritten."""
    source.require_journal()
    state = source.state(live=True)
    if not state.begun or state.pending() or (len(state.pool) < state.target and state.stopped is None):
        raise InputError(
            f"{source.path}: its generation is not finished; first: selfinstruct generate --output-dir {source.path}"
        )
    if state.header.regenerates:
        raise InputError(
            f"{source.path}: its outputs are rewritten ones already; rewrite those of the run that it was made from, "
            f"{state.header.source}"
        )
    return state


def _identity(options: Regenerate, arguments: dict[str, Any], before: RunState) -> dict[str, Any]:
    """Return what the new outputs depend on, beside what the source run depends on."""
    of_source = ParentRuns([before], before.pool, list(before.tasks()))
    return {
        **options.model_dump(mode="json", exclude={"engine", "endpoint"}),
        "engine": of_identity(arguments),
        "source_sha256": parents.fingerprint(of_source),
        "prompts_version": PROMPTS_VERSION,
    }


async def _rewrite(
    config: Config,
    run: RunDirectory,
    state: RunState,
    header: Header,
    source: RunDirectory,
    start_engine: StartEngine,
) -> None:
    console.print(f"starting the engine with model {config.regenerate.model!r}")
    async with running(config, run, start_engine) as engine:
        begun = state.header.resolved["regenerate"]["style"] if state.begun else None
        style: Style = begun or ("chat" if engine.has_chat_template else "completion")
        resolved = {"context_length": engine.context_length, "style": style}
        if not state.begun:
            header = msgspec.structs.replace(header, resolved={**header.resolved, "regenerate": resolved})
            ownership.discard(run)  # The run that is to be overwritten, if there is one.
            _copy_journal(source, run, header, state)
            jsonl.write_text(run.config_path, dump_yaml(config.kept()))
        elif state.header.resolved["regenerate"] != resolved:
            raise ConfigError(
                f"the engine differs from the one that began this run: recorded "
                f"{state.header.resolved['regenerate']}, now {resolved}"
            )
        examples = Examples((), load_frame(config.prompt_language))
        if style == "completion":
            seeds = seed_tasks.load_seed_tasks(config.seeds)
            examples = few_shot_examples(seeds, config.instances.num_examples, config.seed, examples.frame)
        check = row_check(config.filters, load_frame(config.prompt_language))
        sampling = config.regenerate.model_dump(include=set(Sampling.model_fields))
        answering = Answering(Answer(**sampling, continue_cut=False), examples, engine, style, check)
        with JournalWriter(run.journal, config.fsync_interval) as journal:

            def commit(line: Line) -> None:
                journal.append(line)
                state.apply(line)

            with stop_rules.commit_interruption(commit, state):
                await until_signal(
                    _answer_all(answering, engine, state, commit, most_in_flight(config.max_in_flight, engine))
                )


def _copy_journal(source: RunDirectory, run: RunDirectory, header: Header, state: RunState) -> None:
    """Copy the source's journal with another header, all or nothing, and bring `state` up to its end."""
    with jsonl.atomic_path(run.journal) as temporary, temporary.open("wb") as stream:
        for raw, line in read_raw_lines(source.journal):
            if isinstance(line, Header):
                state.apply(header)
                stream.write(rewrite(raw, header))
            elif not isinstance(line, ScoreLine):  # Those are about the old outputs.
                state.apply(line)
                stream.write(raw)


def _copy_lost_lines(source: RunDirectory, run: RunDirectory, state: RunState) -> None:
    """Append the source's lines that `selfinstruct repair` dropped from the copy, and bring `state` up to them."""
    proposals = state.proposals
    with JournalWriter(run.journal) as journal:
        for line in read_lines(source.journal):
            match line:
                case ProposalLine():
                    lost = line.n >= proposals
                case ClassificationLine():
                    lost = line.id not in state.is_classification and line.id not in state.classification_failed
                case InstancesLine():
                    lost = line.id not in state.instances
                case AnswerLine():
                    answered = line.instance not in state.unanswered(line.id)
                    lost = not answered and not (
                        line.to_be_continued and (line.id, line.instance) in state.begun_answers
                    )
                case Control():
                    lost = line.after_proposal >= proposals
                case TagsLine():
                    lost = line.tags is not None and not task_tags.holds(state.tags, line)
                case Header() | OutputLine() | ScoreLine():
                    lost = False
                case _ as never:
                    assert_never(never)
            if isinstance(line, ClassificationLine | InstancesLine | AnswerLine):
                lost = lost and not state.tries.holds(line)
            if lost:
                journal.append(line)
                state.apply(line)


async def _answer_all(
    answering: Answering, engine: Engine, state: RunState, commit: Callable[[Line], None], max_in_flight: int
) -> None:
    """Request every output that is left; commit each answer as it arrives."""
    left = state.outputs_left()
    waiting = iter(left)
    with AnswerProgress("regenerate", len(left)) as progress:

        async def worker() -> None:
            for instruction, number, instance in waiting:
                is_label = state.is_classification.get(instruction.id, False)
                line = await _output(answering, engine, instruction, number, instance, is_label)
                commit(line)
                progress.advance(line.completion.completion_tokens if line.completion else 0)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(max_in_flight, len(left))):
                    group.create_task(worker())
        except ExceptionGroup as errors:  # An engine that dies fails all of them alike.
            raise errors.exceptions[0] from None


async def _output(
    answering: Answering, engine: Engine, instruction: Instruction, number: int, instance: Instance, is_label: bool
) -> OutputLine:
    """Request one output, and return its journal line.

    Args:
        answering: how the model is asked, and how its answers are read.
        engine: the model.
        instruction: the task.
        number: of the instance among those of the instruction, from 0.
        instance: its input is shown; its output is replaced when the new one is accepted.
        is_label: whether the output is a label.
    """
    asked = records.with_constraints(instruction.text, instance.constraints)
    try:
        completion = await engine.generate(
            answering.request(f"output/{instruction.id}/{number}", asked, instance.input)
        )
    except RequestFailed as failure:
        return OutputLine(instruction.id, number, failed=Failure(failure.reason, failure.detail))
    decided = answering.decide(
        instruction.text, instance.input, completion, constraints=instance.constraints, is_label=is_label
    )
    return OutputLine(instruction.id, number, completion, decided)
