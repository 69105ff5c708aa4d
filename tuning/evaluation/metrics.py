"""How good an answer is: ROUGE-L against references and exact match. Pure functions over rows; no model, no torch.

ROUGE-L is `rouge_score`'s: its tokens, its F-measure, float for float; only the longest common subsequence is counted
by RapidFuzz, a hundred times faster. The one departure is where `rouge_score` would measure nothing: it drops every
character outside a-z0-9, so that a Chinese answer scores 0 even against itself. A reference whose letters are mostly
of another script than the Latin is therefore compared word by Unicode word (`selfinstruct.novelty`). The reference
alone decides, so that all models' answers to a question are measured alike.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rapidfuzz.distance import LCSseq

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.novelty import rouge_l as f_measure
from selfinstruct.novelty import tokenize as unicode_words

Row = dict[str, Any]

_FINAL_PUNCTUATION = ".!?…,;:。！？，；：、｡।؟۔"


def rouge_l(references: Sequence[str], response: str, *, stemmer: bool = False) -> float:
    """ROUGE-L F x 100 of a response, in [0, 100]; of several references the best counts.

    Args:
        references: one or more accepted answers.
        response: the answer to judge.
        stemmer: compare the stems of Latin words (Porter), as Super-NaturalInstructions does.

    >>> rouge_l(["the cat sat", "a dog"], "The cat ran.")
    66.66666666666666
    """
    return max(_rouge_l(reference, response, stemmer) for reference in references)


def _rouge_l(reference: str, response: str, stemmer: bool) -> float:
    cut = unicode_words if mostly_other_script(reference) else functools.partial(_rouge_words, stemmer=stemmer)
    expected, found = cut(reference), cut(response)
    if not expected or not found:
        return 0.0
    return 100 * f_measure(LCSseq.similarity(expected, found), len(expected), len(found))


def mostly_other_script(text: str) -> bool:
    """Whether more than half of a text's letters are not Latin ones."""
    if text.isascii():
        return False
    letters = [c for c in text if c.isalpha()]
    return 2 * sum(not _is_latin(c) for c in letters) > len(letters)


def _is_latin(letter: str) -> bool:
    return letter.isascii() or "LATIN" in unicodedata.name(letter, "")


def _rouge_words(text: str, stemmer: bool) -> list[str]:
    if stemmer:
        return _stemming_tokenizer().tokenize(text)
    from rouge_score.tokenize import tokenize

    return tokenize(text, None)


@functools.cache
def _stemming_tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # Two seconds to import, so only when asked for.

    return DefaultTokenizer(use_stemmer=True)


def exact_match(references: Sequence[str], response: str) -> bool:
    """Whether the response is one of the references, whatever the case, outer whitespace and final punctuation.

    >>> exact_match(["Yes"], " yes.\\n"), exact_match(["Yes"], "Yes, it is")
    (True, False)
    """
    return normalise(response) in {normalise(reference) for reference in references}


def normalise(text: str) -> str:
    """Case-folded, without outer whitespace and final punctuation; an answer that is all punctuation is kept."""
    stripped = text.strip().casefold()
    return stripped.rstrip(_FINAL_PUNCTUATION + " \t\n") or stripped


@dataclass(frozen=True, slots=True)
class Metric:
    """A number per answer, whose mean is reported.

    Attributes:
        name: in `scores.json`.
        label: for people.
        of: the number, in [0, 100].
        applies: to which rows.
    """

    name: str
    label: str
    of: Callable[[Row], float]
    applies: Callable[[Row], bool]


METRICS = (
    Metric(
        "rouge_l",
        "ROUGE-L",
        lambda row: rouge_l(row["references"], row["response"], stemmer=row.get("stemmer", False)),
        lambda row: True,
    ),
    Metric(
        "exact_match",
        "exact match",
        lambda row: 100.0 * exact_match(row["references"], row["response"]),
        lambda row: row["is_classification"],
    ),
)
"""What arms are compared by. Exact match is for classification tasks: others can be answered in many words."""


FORMAT_ERRORS = {
    "empty": "no text",
    "no_eos": "did not end by itself within the tokens it had",
    "repeats": "says the same words over and over",
    "truncated": "breaks off: cut while not repeating, or ends at a colon, a comma or inside a code block",
}
"""What can be wrong with an answer's form, whatever it says; one answer can have several."""

_LOOP_REPEATS, _LOOP_WORDS, _LOOP_LONGEST = 4, 12, 60


def format_errors(response: str, finish_reason: str) -> set[str]:
    """The names of the format errors of an answer. One that was never asked (`failed`) is empty and no more.

    >>> sorted(format_errors("The steps are:", "stop")), sorted(format_errors("no, " * 20, "length"))
    (['truncated'], ['no_eos', 'repeats', 'truncated'])
    """
    if not response.strip():
        return {"empty", "no_eos"} if finish_reason == "length" else {"empty"}
    cut, loops = finish_reason == "length", repeats(response)
    breaks_off = response.rstrip().endswith((":", ",", "：", "，", "、")) or response.count("```") % 2 == 1
    found = {"no_eos": cut, "repeats": loops, "truncated": breaks_off or (cut and not loops)}
    return {name for name, there in found.items() if there}


def repeats(text: str) -> bool:
    """Whether a stretch of at most 60 words is said four times in a row or more, 12 words or more in all.

    >>> repeats("very " * 12), repeats("row, row, row your boat"), repeats("the end and the end and the end and " * 2)
    (True, False, True)
    """
    words = unicode_words(text)
    for length in range(1, min(_LOOP_LONGEST, len(words) // _LOOP_REPEATS) + 1):
        needed = max((_LOOP_REPEATS - 1) * length, _LOOP_WORDS - length)
        run = 0  # Words in a row that equal the one `length` before them.
        for k in range(length, len(words)):
            run = run + 1 if words[k] == words[k - length] else 0
            if run >= needed:
                return True
    return False


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over saved predictions (see `evaluation` for their fields), those of each category included.

    Returns:
        `n` answers to `n_tasks` tasks; `rouge_l` and `exact_match` in [0, 100] (None where no row has such a metric);
        as shares in [0, 1]: `stopped` (ended by themselves, at an end token or stop string), `failed` (not asked, being
        too long for the model's context for example; scored as empty) and the format errors (see `FORMAT_ERRORS`);
        `mean_tokens` per answer; with reference log-probabilities also `loss`, the mean negative one per token, and its
        `perplexity`; and all but these two in `per_category`.
    """
    summary = _means(rows)
    loss = validation_loss(rows)
    if loss is not None:
        summary["loss"] = loss
        summary["perplexity"] = round(math.exp(min(loss, 700.0)), 6)  # beyond, it is no number that JSON knows
    categories = sorted({row["category"] for row in rows if row["category"]})
    summary["per_category"] = {name: _means([r for r in rows if r["category"] == name]) for name in categories}
    return summary


def _means(rows: Sequence[Row]) -> dict[str, Any]:
    summary: dict[str, Any] = {"n": len(rows), "n_tasks": len({row["task"] for row in rows})}
    for metric in METRICS:
        summary[metric.name] = _mean(metric.of(row) for row in rows if metric.applies(row))
    summary["stopped"] = _mean(row["finish_reason"] == "stop" for row in rows)
    summary["failed"] = _mean(row["finish_reason"] == "failed" for row in rows)
    found = [format_errors(row["response"], row["finish_reason"]) for row in rows]
    for name in FORMAT_ERRORS:
        summary[name] = _mean(name in errors for errors in found)
    summary["mean_tokens"] = _mean(row["completion_tokens"] for row in rows)
    return summary


def validation_loss(rows: Iterable[Row]) -> float | None:
    """Mean negative log-probability per token of the references, end token included; None when none was measured."""
    measured = [row for row in rows if row.get("reference_tokens")]
    if not measured:
        return None
    return round(-sum(r["reference_logprob"] for r in measured) / sum(r["reference_tokens"] for r in measured), 6)


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return round(fmean(numbers), 6) if numbers else None


def score_predictions(
    path: Path, prediction_field: str = "response", reference_field: str = "target", stemmer: bool = False
) -> dict[str, Any]:
    """Score a file of predictions (JSON Lines), read as a stream.

    Args:
        path: the file.
        prediction_field: the field that holds the answer, a string.
        reference_field: the field that holds what was expected: a string, or a list of which the best one counts.
        stemmer: cut English words to their stems before ROUGE-L.

    Returns:
        `rouge_l` (mean F x 100), `exact_match` (per cent), `n`.

    Raises:
        InputError: names file, line and field of the first row that cannot be scored; or the file is empty.
    """
    rouge_sum, matches, n = 0.0, 0, 0
    for number, row in jsonl.read(path):
        where = f"{path}, line {number}"
        response = _field(row, prediction_field, where, "prediction")
        if not isinstance(response, str):
            raise InputError(f"{where}: `{prediction_field}` must be a string, got {repr(response)[:80]}")
        references = _field(row, reference_field, where, "reference")
        if isinstance(references, str):
            references = [references]
        if not isinstance(references, list) or not references or not all(isinstance(r, str) for r in references):
            got = repr(row[reference_field])[:80]
            raise InputError(f"{where}: `{reference_field}` must be a string or a non-empty list of strings, got {got}")
        rouge_sum += rouge_l(references, response, stemmer=stemmer)
        matches += exact_match(references, response)
        n += 1
    if n == 0:
        raise InputError(f"{path}: holds no predictions")
    return {"rouge_l": rouge_sum / n, "exact_match": 100 * matches / n, "n": n}


def _field(row: Row, name: str, where: str, kind: str) -> Any:
    if name not in row:
        there = ", ".join(f"`{key}`" for key in row) or "none"
        raise InputError(f"{where}: no field `{name}`; name the right one with --{kind}-field (there are: {there})")
    return row[name]
