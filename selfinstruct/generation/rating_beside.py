"""Score answers while others are still generated (`rate.beside`).

The judge is the generator itself, or is served elsewhere; a reward model is loaded beside it. Each score is a line of
the journal, as `rate` writes them. Scores may lie between any lines; in all other respects they are those of a rating
afterwards. Whatever ends the generation ends the rating, and the next start, or `rate`, goes on with what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from selfinstruct.config.schema import GenerationConfig
from selfinstruct.console import console
from selfinstruct.engines.base import Engine
from selfinstruct.errors import EngineError
from selfinstruct.generation.in_order import running
from selfinstruct.generation.rate import answers_in, applies, checked, score_line, scorer_about, scorer_of
from selfinstruct.generation.scorers.interface import AnswerScorer, RatedAnswer
from selfinstruct.generation.supervision import StartEngine
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import Line, ProposalLine
from selfinstruct.run.state import RunState
from selfinstruct.signals import until_signal

Note = Callable[[Line], None]


@contextlib.asynccontextmanager
async def rating_beside(
    config: GenerationConfig,
    run: RunDirectory,
    state: RunState,
    engine: Engine,
    start: StartEngine | None,
    commit: Callable[[Line], None],
    seconds_left: Callable[[], float | None] = lambda: None,
) -> AsyncIterator[Note]:
    """Score the answers in the lines that the caller names, until the block ends and all of them are scored.

    A scorer that fails ends the rating, not the generation.

    Args:
        config: with the section `rate`.
        run: its journal has the lines before.
        state: after them.
        engine: the generator.
        start: starts the judge, where that is another one.
        commit: appends a line.
        seconds_left: up to a deadline; None: there is none.
    """
    if not config.rate.beside:
        yield lambda line: None
        return
    waiting: asyncio.Queue[RatedAnswer | None] = asyncio.Queue()
    texts = {instruction.id: instruction.text for instruction in state.pool}
    known = {rated for rated, value in state.scores.get(scorer_about(config), {}).items() if value is not None}

    def note(line: Line) -> None:
        if isinstance(line, ProposalLine):
            texts.update((one.id, one.instruction) for one in line.candidates if one.accepted)
        for answer in answers_in(line, texts):
            if answer.place not in known and applies(config.rate, answer):
                waiting.put_nowait(answer)

    for line in read_lines(run.journal):
        note(line)
    judges = contextlib.nullcontext(engine) if start is None else running(config, run, start)
    async with scorer_of(config, judges) as (scorer, at_once):

        async def work() -> None:
            await checked(scorer, config, run)
            await asyncio.gather(*(_score(scorer, waiting, commit) for _ in range(at_once)))

        rating = asyncio.ensure_future(work())
        try:
            yield note
            waiting.put_nowait(None)
            left = seconds_left()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if left is None else max(0.0, left)):
                    await until_signal(rating)
        except EngineError as error:
            if not rating.done() or rating.cancelled() or rating.exception() is not error:
                raise
            console.print(f"{error}\nrating ended; selfinstruct rate {run.path} goes on with it", markup=False)
        finally:
            rating.cancel()
            await asyncio.gather(rating, return_exceptions=True)


async def _score(
    scorer: AnswerScorer, waiting: asyncio.Queue[RatedAnswer | None], commit: Callable[[Line], None]
) -> None:
    """Score answers as they come, until there are no more."""
    while (answer := await waiting.get()) is not None:
        commit(await score_line(scorer, answer))
    waiting.put_nowait(None)  # For the others who wait.
