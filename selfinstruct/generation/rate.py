"""`selfinstruct rate`: a scorer says how good each answer of a run is.

Every answer that the filters let through is scored, the samples that are not kept included; each score is a line of the
run's own journal. Scores decide nothing by themselves: `refilter` chooses by them, and `export --select-by best` draws
on them. Answers are scored and written in the order of the pool. A rating that was stopped goes on with the same
command; what failed is tried once more by each further call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, assert_never

from selfinstruct.config.schema import GenerationConfig
from selfinstruct.config.scoring import Rate
from selfinstruct.console import AnswerProgress, console
from selfinstruct.engines.base import Engine, RequestFailed, most_in_flight
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import seed_tasks
from selfinstruct.generation import stop_rules
from selfinstruct.generation.in_order import commit_in_order, running
from selfinstruct.generation.kept_samples import passed
from selfinstruct.generation.scorer_check import known_answers, remark, separation
from selfinstruct.generation.scorers.consistency import MOST_WORDS, Consistency, is_comparable
from selfinstruct.generation.scorers.interface import AnswerScorer, RatedAnswer
from selfinstruct.generation.scorers.judge import RUBRIC, Judge, version
from selfinstruct.generation.scorers.reward import Reward
from selfinstruct.generation.scorers.verified import Verified, has_constraints
from selfinstruct.generation.session import end_leftovers, recover
from selfinstruct.generation.supervision import StartEngine
from selfinstruct.records import Constraint, user_message, with_constraints
from selfinstruct.run.answer_scores import Place, Scorer
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter, read_lines
from selfinstruct.run.lines import (
    AnswerLine,
    Failure,
    InstanceCandidate,
    InstancesLine,
    Line,
    ProposalLine,
    ScoreLine,
    WrittenInstance,
)
from selfinstruct.run.measurements import MetricsWriter
from selfinstruct.run.state import RunState
from selfinstruct.signals import leave, on_signals, until_signal


@dataclass(frozen=True, slots=True)
class RateResult:
    """What a rating did.

    Attributes:
        scorer: who gave the scores.
        before: answers that it had scored before.
        scored: answers that it has scored now.
        failed: answers that it could not score.
        apart: answers that this scorer has nothing to say about.
        auc: how often it scores a seed's own output above another seed's; None where that was not tried.
    """

    scorer: Scorer
    before: int
    scored: int
    failed: int
    apart: int
    auc: float | None = None


def rate(config: GenerationConfig, start_engine: StartEngine) -> RateResult:
    """Score the answers of the run in `config.output_dir` that its scorer has not scored yet.

    Args:
        config: the run's, with the section `rate`.
        start_engine: starts the judge's model; called only where a judge has something to do.

    Raises:
        ConfigError: the rubric, the model or the endpoint is wrong.
        InputError: there is no run, it has rewritten outputs, or no answer.
        EngineError: the engine died; the same command continues.
        Interrupted: by a signal; likewise.
        RunLockedError: another process writes the directory.
    """
    run = RunDirectory.at(config.output_dir)
    with on_signals(leave), run.locked():
        end_leftovers(run)
        return _continued(config, run, recover(run), start_engine)


def _continued(config: GenerationConfig, run: RunDirectory, state: RunState, start_engine: StartEngine) -> RateResult:
    """Score what is left."""
    if state.header.regenerates:
        raise InputError(f"{run.path}: its outputs are rewritten; rate the run that it was made from, then rewrite")
    about = scorer_about(config)
    there = rated_answers(read_lines(run.journal), state)
    answers = [answer for answer in there if applies(config.rate, answer)]
    if not answers:
        needs = f" that {config.rate.scorer} can score ({_NEEDS[config.rate.scorer]})" if there else ""
        raise InputError(f"{run.path}: it has no answer{needs}; see selfinstruct status {run.path}")
    known = {place for place, value in state.scores.get(about, {}).items() if value is not None}
    left = [answer for answer in answers if answer.place not in known]
    auc = asyncio.run(_rate(config, run, state, left, start_engine)) if left else None
    scores = state.scores.get(about, {})
    now = sum(scores.get(answer.place) is not None for answer in left)
    return RateResult(about, len(answers) - len(left), now, len(left) - now, len(there) - len(answers), auc)


_APPLIES: dict[str, Callable[[RatedAnswer], bool]] = {"consistency": is_comparable, "verified": has_constraints}
_NEEDS = {
    "consistency": f"answers of at most {MOST_WORDS} words, sampled with answer.num_samples",
    "verified": "answers to instructions with constraints",
}
"""What must be there for the scorers that cannot score every answer."""


def _rubric(options: Rate) -> str:
    if options.rubric is None:
        return RUBRIC
    try:
        text = Path(options.rubric).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"rate.rubric: {options.rubric} cannot be read: {error}") from error
    if not text.strip():
        raise ConfigError(f"rate.rubric: {options.rubric} is empty; write what each grade from 1 to 5 means")
    return text


def applies(options: Rate, answer: RatedAnswer) -> bool:
    """Return whether a scorer has anything to say about an answer."""
    test = _APPLIES.get(options.scorer)
    return test is None or test(answer)


def scorer_about(config: GenerationConfig) -> Scorer:
    """Return who gives the scores, before a model is started.

    Raises:
        ConfigError: the rubric cannot be read.
    """
    options = config.rate
    match options.scorer:
        case "judge":
            return Scorer("judge", options.model or config.model, version(_rubric(options)))
        case "reward":
            return Scorer("reward", str(options.model), "1")
        case "consistency":
            return Consistency.about
        case "verified":
            return Verified.about
        case _ as never:
            assert_never(never)


# ------------------------------------------------------------------------------------------------- the answers


class _Written(NamedTuple):
    candidates: Sequence[InstanceCandidate]
    constraints: tuple[Constraint, ...] = ()


def rated_answers(lines: Iterable[Line], state: RunState) -> list[RatedAnswer]:
    """Return every answer that passes the filters, in the order of the pool.

    Args:
        lines: of the journal.
        state: after them.
    """
    by_task: dict[str, list[RatedAnswer]] = {instruction.id: [] for instruction in state.pool}
    texts = {instruction.id: instruction.text for instruction in state.pool}
    for line in lines:
        for answer in answers_in(line, texts):
            by_task[answer.place.id].append(answer)
    return [answer for answers in by_task.values() for answer in sorted(answers, key=lambda answer: answer.place)]


def answers_in(line: Line, texts: Mapping[str, str]) -> list[RatedAnswer]:
    """Return the answers in one line that pass the filters.

    Args:
        line: of the journal.
        texts: of the accepted instructions by id.
    """
    match line:
        case ProposalLine():
            return [
                _brought(one.id, one.instruction, one.instance)
                for one in line.candidates
                if one.accepted and one.instance is not None
            ]
        case InstancesLine() if line.form != "input_only" and line.id in texts:
            return [
                RatedAnswer(Place(line.id, k, 0), user_message(texts[line.id], written.input), written.output)
                for k, written in enumerate(line.candidates)
                if passed(written)
            ]
        case AnswerLine() if line.id in texts:
            return _samples(line, texts[line.id])
        case _:
            return []


def _brought(name: str, instruction: str, instance: WrittenInstance) -> RatedAnswer:
    return RatedAnswer(Place(name, 0, 0), user_message(instruction, instance.input), instance.output)


def _samples(line: AnswerLine, instruction: str) -> list[RatedAnswer]:
    outputs = [candidate.output for candidate in line.candidates]
    return [
        RatedAnswer(
            Place(line.id, line.instance, k),
            user_message(with_constraints(instruction, line.constraints), one.input),
            one.output,
            tuple(outputs[:k] + outputs[k + 1 :]),
            one.verified,
        )
        for k, one in enumerate(line.candidates)
        if passed(one)
    ]


# ------------------------------------------------------------------------------------------------ the scoring


async def _rate(
    config: GenerationConfig, run: RunDirectory, state: RunState, left: list[RatedAnswer], start: StartEngine
) -> float | None:
    """Start what the scorer needs, and score all that is left; return how well a model tells known answers apart."""
    with JournalWriter(run.journal, config.fsync_interval) as journal:

        def commit(line: Line) -> None:
            journal.append(line)
            state.apply(line)

        with stop_rules.commit_interruption(commit, state):
            async with scorer_of(config, running(config, run, start)) as (scorer, at_once):
                auc = await until_signal(checked(scorer, config, run))
                await until_signal(_score_all(scorer, left, commit, at_once))
    return auc


@contextlib.asynccontextmanager
async def scorer_of(
    config: GenerationConfig, judges: AbstractAsyncContextManager[Engine]
) -> AsyncIterator[tuple[AnswerScorer, int]]:
    """Yield the scorer of a configuration, and how many answers to give to it at once.

    Args:
        config: with the section `rate`.
        judges: gives the judge's engine; entered only for a judge.
    """
    options = config.rate
    match options.scorer:
        case "judge":
            model = options.model or config.model
            console.print(f"starting the judge {model!r}", markup=False)
            async with judges as engine:
                yield Judge(engine, model, _rubric(options)), most_in_flight(config.max_in_flight, engine)
        case "reward":
            yield Reward(str(options.model)), 1
        case "consistency":
            yield Consistency(), 1
        case "verified":
            yield Verified(), 1
        case _ as never:
            assert_never(never)


async def checked(scorer: AnswerScorer, config: GenerationConfig, run: RunDirectory) -> float | None:
    """Measure how well a model that scores tells known answers apart; print and note it. None for other scorers.

    Args:
        scorer: that is measured.
        config: names the seed tasks, whose answers are known.
        run: notes the result.
    """
    if not isinstance(scorer, Judge | Reward):
        return None
    try:
        seeds = seed_tasks.load_seed_tasks(config.seeds)
    except InputError:
        return None  # They have been moved since; the scores do not need them.
    auc = await separation(scorer, known_answers(seeds, config.seed))
    MetricsWriter(run.metrics_path).append(event="scorer_checked", **scorer.about._asdict(), auc=auc)
    if said := remark(scorer.about.name, auc):
        console.print(said, markup=False)
    return auc


async def _score_all(
    scorer: AnswerScorer, left: Sequence[RatedAnswer], commit: Callable[[Line], None], at_once: int = 1
) -> None:
    """Score answers, some at once; commit the scores in the order of the answers."""
    progress = AnswerProgress(scorer.about.name, len(left))
    await commit_in_order(left, partial(score_line, scorer), commit, progress, at_once)


async def score_line(scorer: AnswerScorer, answer: RatedAnswer) -> ScoreLine:
    """Return the journal line of an answer's score."""
    try:
        scored = await scorer.score(answer)
    except RequestFailed as failure:
        return ScoreLine(*answer.place, *scorer.about, failed=Failure(failure.reason, failure.detail))
    return ScoreLine(*answer.place, *scorer.about, scored.value, scored.completion)
