"""Forgetting: how surprised a model is by plain text that the user gives, before and after tuning.

The text is cut into chunks of at most 2,000 characters, at the end of a line where there is one in the second half,
else at a space; the same chunks for every model. Each chunk is measured alone, after the token that begins a text (for
a model without one: the token that ends it), so that no chunk overlaps another and the first word counts too. Reported
are perplexity per token, and bits per byte of UTF-8. Only the latter compares models with different tokenizers. The
model sees no chat template: this is text, not a question.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import UNSET, Struct, UnsetType

from selfinstruct.console import AnswerProgress
from selfinstruct.engines.base import RequestFailed
from selfinstruct.errors import InputError
from selfinstruct.run.scores import Forgetting, PlainTextScores
from tuning.evaluation.answer_cache import Made, RowFile
from tuning.evaluation.answers import Arm, EvaluationEngine, together
from tuning.evaluation.bootstrap import Resampling, Score, compare
from tuning.evaluation.measurement import Measurement

CHUNK = 2_000
"""Characters; some 500 tokens of English, which fits a context of 1,024 with any usual tokenizer."""


class Chunk(Struct, frozen=True, kw_only=True):
    """A measured chunk of text.

    Attributes:
        id: `<file>/<number>`.
        bytes: length in UTF-8.
        logprob: natural log-probability of its tokens; None if it could not be measured.
        tokens: how many those are.
        failed: why it could not be measured.
    """

    id: str
    bytes: int
    logprob: float | None
    tokens: int
    failed: str | UnsetType = UNSET


CHUNKS = RowFile("plain-text", Chunk)


def measurement(files: Sequence[str]) -> Measurement[Chunk]:
    """Return how the chunks of text files are measured.

    Raises:
        InputError: a file is missing, not UTF-8, or empty.
    """
    chunks = [(path, k, text) for path in files for k, text in enumerate(read(Path(path)))]

    async def make(engine: EvaluationEngine, arm: Arm, numbers: Sequence[int], made: Made[Chunk]) -> None:
        with AnswerProgress(arm.name, len(numbers), "chunks of plain text") as progress:

            async def one(k: int) -> None:
                path, number, text = chunks[k]
                chunk = await _measure(engine, f"{path}/{number}", text)
                made(k, chunk)
                progress.advance(chunk.tokens)

            await together(one(k) for k in numbers)

    return Measurement(CHUNKS, [list(chunk) for chunk in chunks], make, few_shot=False)


async def _measure(engine: EvaluationEngine, name: str, text: str) -> Chunk:
    size = len(text.encode())
    ids = engine.encode_text(text)
    begin = engine.tokenizer.bos_token_id
    begin = engine.tokenizer.eos_token_id if begin is None else begin
    try:
        # Without any special token, the text's first token takes its place.
        before, measured = ([begin], ids) if begin is not None else (ids[:1], ids[1:])
        logprob = round(await engine.response_logprob(before, measured), 6)
        return Chunk(id=name, bytes=size, logprob=logprob, tokens=len(measured))
    except RequestFailed as failure:
        return Chunk(id=name, bytes=size, logprob=None, tokens=0, failed=str(failure))


def read(path: Path) -> list[str]:
    """Return the chunks of a file; together they are its text without outer whitespace.

    Raises:
        InputError: the file is missing, not UTF-8, or empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}") from error
    if not text:
        raise InputError(f"{path}: holds no text to measure")
    return cut(text)


def cut(text: str, size: int = CHUNK) -> list[str]:
    """Return pieces of at most `size` characters that make up the text, cut after a line or a word where possible.

    >>> cut("one two three four", 9)
    ['one two ', 'three ', 'four']
    """
    pieces = []
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            line = text.rfind("\n", start + size // 2, end)
            space = text.rfind(" ", start + 1, end)
            end = line + 1 if line >= 0 else space + 1 if space >= 0 else end
        pieces.append(text[start:end])
        start = end
    return pieces


def score(rows: Sequence[Chunk]) -> PlainTextScores:
    """Return one arm's perplexity and bits per byte."""
    measured = [(row, row.logprob) for row in rows if row.logprob is not None]
    tokens, size = sum(row.tokens for row, _ in measured), sum(row.bytes for row, _ in measured)
    loss = -sum(logprob for _, logprob in measured)
    return PlainTextScores(
        chunks=len(measured),
        failed=len(rows) - len(measured),
        tokens=tokens,
        bytes=size,
        perplexity=round(math.exp(min(loss / tokens, 700.0)), 6) if tokens else None,  # JSON has no infinity.
        bits_per_byte=round(loss / math.log(2) / size, 6) if size else None,
    )


def compared(by_arm: Mapping[str, Sequence[Chunk]], a: str, resampling: Resampling) -> list[Forgetting]:
    """Return arm `a` minus every other arm in bits per byte, over the chunks of both; more than 0 is forgetting.

    Chunks are resampled. Each counts alike, so that this is the mean of the chunks' differences.

    Args:
        by_arm: the chunks of each arm.
        a: the arm that the others are subtracted from.
        resampling: how the intervals are made.
    """
    scores = {arm: _bits(rows) for arm, rows in by_arm.items()}
    if a not in scores:
        return []
    others = [b for b in scores if b != a]
    made = [compare("plain_text", "bits_per_byte", (a, scores[a]), (b, scores[b]), resampling) for b in others]
    return [
        Forgetting(
            a=c.a,
            b=c.b,
            difference=c.difference,
            low=c.low,
            high=c.high,
            chunks=c.n,
            significant=c.significant,
        )
        for c in made
        if c is not None
    ]


def _bits(rows: Sequence[Chunk]) -> dict[str, Score]:
    return {
        row.id: Score(row.id, -row.logprob / math.log(2) / row.bytes)
        for row in rows
        if row.logprob is not None and row.bytes
    }
