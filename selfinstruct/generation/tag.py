"""`selfinstruct tag`: a model says what each task of a run is about.

Every accepted instruction that has an instance is asked about once, in the order of the pool; each answer is a line of
the run's own journal. Tags decide nothing by themselves: report and card show their shares, and `export --quota` draws
by them. A tagging that was stopped goes on with the same command; what failed is tried once more by each further call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from selfinstruct.config.schema import GenerationConfig
from selfinstruct.console import AnswerProgress, console
from selfinstruct.engines.base import Engine, RequestFailed, most_in_flight
from selfinstruct.errors import InputError
from selfinstruct.generation import stop_rules, tag_question
from selfinstruct.generation.in_order import commit_in_order, running
from selfinstruct.generation.session import end_leftovers, recover
from selfinstruct.generation.supervision import StartEngine
from selfinstruct.records import Completion, Task
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter
from selfinstruct.run.lines import Failure, Line, TagsLine
from selfinstruct.run.state import RunState
from selfinstruct.run.task_tags import Tagger, histograms
from selfinstruct.signals import leave, on_signals, until_signal


@dataclass(frozen=True, slots=True)
class TagResult:
    """What a tagging did.

    Attributes:
        tagger: who gave the tags.
        before: tasks that it had tagged before.
        tagged: tasks that it has tagged now.
        failed: tasks for which its answer was none.
        values: for each kind of tag, the number of tasks by its value.
    """

    tagger: Tagger
    before: int
    tagged: int
    failed: int
    values: dict[str, dict[str, int]]


def tag(config: GenerationConfig, start_engine: StartEngine) -> TagResult:
    """Tag the tasks of the run in `config.output_dir` that the model has not tagged yet.

    Args:
        config: the run's, with the section `tag`.
        start_engine: starts the model; called only where there is something to tag.

    Raises:
        ConfigError: the model or the endpoint is wrong.
        InputError: there is no run, or it has no task.
        EngineError: the engine died; the same command continues.
        Interrupted: by a signal; likewise.
        RunLockedError: another process writes the directory.
    """
    run = RunDirectory.at(config.output_dir)
    with on_signals(leave), run.locked():
        end_leftovers(run)
        state = recover(run)
        tasks = list(state.tasks())
        if not tasks:
            raise InputError(f"{run.path}: no instruction has an instance; see selfinstruct status {run.path}")
        tagger = Tagger(config.tag.model or config.model, tag_question.VERSION)
        known = state.tags.get(tagger, {})
        left = [task for task in tasks if known.get(task.id) is None]
        if left:
            asyncio.run(_tag(config, run, state, left, tagger, start_engine))
        tags = state.tags.get(tagger, {})
        now = sum(tags.get(task.id) is not None for task in left)
        shown = histograms(one for task in tasks if (one := tags.get(task.id)) is not None)
        return TagResult(tagger, len(tasks) - len(left), now, len(left) - now, shown)


async def _tag(
    config: GenerationConfig,
    run: RunDirectory,
    state: RunState,
    left: Sequence[Task],
    tagger: Tagger,
    start: StartEngine,
) -> None:
    """Start the model, and tag all that is left."""
    with JournalWriter(run.journal, config.fsync_interval) as journal:

        def commit(line: Line) -> None:
            journal.append(line)
            state.apply(line)

        with stop_rules.commit_interruption(commit, state):
            console.print(f"starting {tagger.model!r}, which tags the tasks", markup=False)
            async with running(config, run, start) as engine:
                progress = AnswerProgress(tagger.model, len(left), "tags")
                at_once = most_in_flight(config.max_in_flight, engine)
                await until_signal(
                    commit_in_order(left, lambda task: _line(engine, task, tagger), commit, progress, at_once)
                )


async def _line(engine: Engine, task: Task, tagger: Tagger) -> TagsLine:
    """Return the journal line of a task."""
    completion: Completion | None = None
    try:
        completion = await engine.generate(tag_question.encode(task, chat=engine.has_chat_template))
        return TagsLine(task.id, *tagger, tag_question.parse(completion.text), completion)
    except RequestFailed as failure:
        failed = Failure(failure.reason, failure.detail)
        return TagsLine(task.id, *tagger, completion=completion, failed=failed)
