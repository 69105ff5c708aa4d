"""What did tuning cost? How surprised a model is by plain text that the user gives, before and after.

The text is cut into chunks of at most 2,000 characters, at the end of a line where there is one in the second half,
else at a space; the same chunks for every model. Each is measured alone, after the token that begins a text (where a
model has none, the one that ends it), so that no chunk overlaps another and the first word counts too. Reported are
perplexity per token, and bits per byte of UTF-8, which alone is comparable between models with different tokenizers.
The model sees no chat template: this is text, not a question.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.console import AnswerProgress
from selfinstruct.engines.base import RequestFailed
from selfinstruct.errors import InputError
from tuning.evaluation import bootstrap as compare
from tuning.evaluation.answer_cache import Part, key_of
from tuning.evaluation.answers import Arm, EvaluationEngine, Row, together
from tuning.evaluation.bootstrap import Score

PART = "plain-text"
CHUNK = 2_000
"""Characters; some 500 tokens of English, which fits a context of 1,024 with any usual tokenizer."""


def part(config: Config) -> Part:
    """What an arm is measured on; its rows are chunks with `logprob` (natural), `tokens` and `bytes`.

    Raises:
        InputError: a file is missing, no UTF-8, or empty.
    """
    chunks = [(path, k, text) for path in config.evaluate.plain_text for k, text in enumerate(read(Path(path)))]

    async def make(engine: EvaluationEngine, arm: Arm) -> list[Row]:
        with AnswerProgress(arm.name, len(chunks), "chunks of plain text") as progress:

            async def one(path: str, number: int, text: str) -> Row:
                row = {"id": f"{path}/{number}", "bytes": len(text.encode()), **await _measure(engine, text)}
                progress.advance(row["tokens"])
                return row

            return await together(one(*chunk) for chunk in chunks)

    return Part(PART, key_of([list(chunk) for chunk in chunks]), make, few_shot=False)


async def _measure(engine: EvaluationEngine, text: str) -> Row:
    ids = list(engine.tokenizer(text, add_special_tokens=False)["input_ids"])
    begin = engine.tokenizer.bos_token_id
    begin = engine.tokenizer.eos_token_id if begin is None else begin
    try:
        # Without any special token, the first token of the text has to do.
        before, measured = ([begin], ids) if begin is not None else (ids[:1], ids[1:])
        return {"logprob": round(await engine.response_logprob(before, measured), 6), "tokens": len(measured)}
    except RequestFailed as failure:
        return {"logprob": None, "tokens": 0, "failed": str(failure)}


def read(path: Path) -> list[str]:
    """The chunks of a file, whose concatenation is its text without the whitespace around it.

    Raises:
        InputError: the file is missing, no UTF-8, or empty.
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
    """Pieces of at most `size` characters that make up the text, cut where it hurts least.

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


def score(rows: Sequence[Row]) -> dict[str, Any]:
    """`perplexity` per token, `bits_per_byte`, and how many `chunks`, `tokens`, `bytes` and `failed` chunks that is."""
    measured = [row for row in rows if row["logprob"] is not None]
    about: dict[str, Any] = {
        "chunks": len(measured),
        "failed": len(rows) - len(measured),
        "tokens": sum(row["tokens"] for row in measured),
        "bytes": sum(row["bytes"] for row in measured),
    }
    loss = -sum(row["logprob"] for row in measured)
    about["perplexity"] = round(_exp(loss / about["tokens"]), 6) if about["tokens"] else None
    about["bits_per_byte"] = round(loss / math.log(2) / about["bytes"], 6) if about["bytes"] else None
    return about


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))  # Beyond, it is no number that JSON knows.


def compared(by_arm: Mapping[str, Sequence[Row]], a: str, **bootstrap: Any) -> list[dict[str, Any]]:
    """Arm `a` minus every other arm in bits per byte, over the chunks of both; more than 0 is forgetting.

    Chunks are resampled. Each counts alike, so that this is the mean of the chunks' differences.
    """
    scores = {arm: _bits(rows) for arm, rows in by_arm.items()}
    found = []
    for b in scores:
        if a in scores and b != a:
            one = compare.compare("plain_text", "bits_per_byte", (a, scores[a]), (b, scores[b]), **bootstrap)
            if one is not None:
                found.append(one)
    return [
        {"a": c.a, "b": c.b, "difference": c.difference, "low": c.low, "high": c.high, "chunks": c.n, "shown": c.shown}
        for c in found
    ]


def _bits(rows: Sequence[Row]) -> dict[str, Score]:
    return {
        row["id"]: Score(row["id"], -row["logprob"] / math.log(2) / row["bytes"])
        for row in rows
        if row["logprob"] is not None and row["bytes"]
    }
