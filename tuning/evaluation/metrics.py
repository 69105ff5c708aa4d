"""Metrics of answers: ROUGE-L against references, exact match, format errors. Pure functions; no model, no torch.

ROUGE-L of ASCII text is that of `rouge_score`: its tokens, its F-measure, float for float; only the longest common
subsequence is counted by RapidFuzz, a hundred times faster. `rouge_score` drops every letter outside a-z, so that "có"
equals "cứ" and a Chinese answer scores 0 even against itself. Text with such letters is compared by Unicode words; in
scripts without spaces each character is one, as is usual for ROUGE of Chinese. `rouge_score`'s own figure is available.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec import UNSET
from rapidfuzz.distance import LCSseq

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.formats.field_path import value_at
from selfinstruct.novelty import rouge_l as f_measure
from selfinstruct.novelty import tokenize
from selfinstruct.records import Tokenizer
from selfinstruct.run.scores import ChanceLevel, Interval, Means, SetScores
from tuning.evaluation.answers import Answer

_FINAL_PUNCTUATION = ".!?…,;:。！？，；：、｡।؟۔"


def rouge_l(
    references: Sequence[str],
    response: str,
    *,
    stemmer: bool = False,
    equal_length: bool = False,
    tokenizer: Tokenizer = "characters",
) -> float:
    """Return ROUGE-L F x 100 of a response, in [0, 100]; with several references, that of the best one.

    Args:
        references: one or more accepted answers.
        response: the answer to measure.
        stemmer: compare the stems of words in a-z (Porter), as Super-NaturalInstructions does.
        equal_length: compare only as many of the first words of the answer as the reference has.
        tokenizer: how texts are split into words; `rouge_score` drops all letters outside a-z, as that package does.

    >>> rouge_l(["the cat sat", "a dog"], "The cat ran.")
    66.66666666666666
    """
    return max(_rouge_l(reference, response, stemmer, equal_length, tokenizer) for reference in references)


def _rouge_l(reference: str, response: str, stemmer: bool, equal_length: bool, tokenizer: Tokenizer) -> float:
    expected, answered = (_words(text, stemmer, tokenizer) for text in (reference, response))
    if equal_length:
        answered = answered[: len(expected)]
    if not expected or not answered:
        return 0.0
    return 100 * f_measure(LCSseq.similarity(expected, answered), len(expected), len(answered))


def _words(text: str, stemmer: bool, tokenizer: Tokenizer) -> list[str]:
    words = tokenize(text, tokenizer)
    if not stemmer:
        return words
    stems = _stemming_tokenizer().tokenize
    return [stem for word in words for stem in (stems(word) if word.isascii() else [word])]


@functools.cache
def _stemming_tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # Its import takes two seconds.

    return DefaultTokenizer(use_stemmer=True)


def exact_match(references: Sequence[str], response: str) -> bool:
    """Return whether the response is one of the references, but for case, outer whitespace and final punctuation.

    >>> exact_match(["Yes"], " yes.\\n"), exact_match(["Yes"], "Yes, it is")
    (True, False)
    """
    return normalise(response) in {normalise(reference) for reference in references}


def normalise(text: str) -> str:
    """Return a text in lower case, without outer whitespace and, unless it is nothing else, final punctuation."""
    stripped = unicodedata.normalize("NFC", text.strip().casefold())
    return stripped.rstrip(_FINAL_PUNCTUATION + " \t\n") or stripped


@dataclass(frozen=True, slots=True)
class Metric:
    """A number per answer, whose mean is reported.

    Attributes:
        name: in `scores.json`.
        label: for people.
        of: returns the number, in [0, 100].
        applies: returns whether an answer has this metric.
    """

    name: str
    label: str
    of: Callable[[Answer], float]
    applies: Callable[[Answer], bool]


METRICS = (
    Metric(
        "rouge_l",
        "ROUGE-L",
        lambda row: rouge_l(row.references, row.response, stemmer=row.stemmer),
        lambda row: True,
    ),
    Metric(
        "rouge_l_equal",
        "ROUGE-L at the reference's length",
        lambda row: rouge_l(row.references, row.response, stemmer=row.stemmer, equal_length=True),
        lambda row: True,
    ),
    Metric(
        "exact_match",
        "exact match",
        lambda row: 100.0 * exact_match(row.references, row.response),
        lambda row: row.is_classification,
    ),
)
"""The metrics that compare arms. ROUGE-L moves with the length of answers; ROUGE-L at equal lengths is shown beside it.
Exact match is for classification tasks: others have many right wordings.

A set's mean is that over its answers, each with the stems of its own row: sets of Super-NaturalInstructions are scored
by stems (`settings.stemmer` in `scores.json` names them). `selfinstruct score` recomputes them with `--stemmer`, and
finds another figure without it."""


FORMAT_ERRORS = ("empty", "no_eos", "repeats", "truncated")
"""What can be wrong with an answer's form; one answer can have several of these errors.

`empty`: no text. `no_eos`: it did not end within its token limit. `repeats`: it repeats the same words many times.
`truncated`: it breaks off, that is, it was cut while not repeating, or ends at a colon, a comma or inside a code block.
"""

_LOOP_REPEATS, _LOOP_WORDS, _LOOP_LONGEST = 4, 12, 60


def format_errors(response: str, finish_reason: str) -> set[str]:
    """Return the names of the format errors of an answer. One that could not be asked (`failed`) is `empty` alone.

    >>> sorted(format_errors("The steps are:", "stop")), sorted(format_errors("no, " * 20, "length"))
    (['truncated'], ['no_eos', 'repeats', 'truncated'])
    """
    if not response.strip():
        return {"empty", "no_eos"} if finish_reason == "length" else {"empty"}
    cut, loops = finish_reason == "length", repeats(response)
    breaks_off = response.rstrip().endswith((":", ",", "：", "，", "、")) or response.count("```") % 2 == 1
    errors = {"no_eos": cut, "repeats": loops, "truncated": breaks_off or (cut and not loops)}
    return {name for name, has in errors.items() if has}


def repeats(text: str) -> bool:
    """Return whether a stretch of at most 60 words is repeated four times in a row or more, 12 words or more in all.

    >>> repeats("very " * 12), repeats("row, row, row your boat"), repeats("the end and the end and the end and " * 2)
    (True, False, True)
    """
    words = tokenize(text, "characters")
    for length in range(1, min(_LOOP_LONGEST, len(words) // _LOOP_REPEATS) + 1):
        needed = max((_LOOP_REPEATS - 1) * length, _LOOP_WORDS - length)
        run = 0  # Words in a row that equal the one `length` before them.
        for k in range(length, len(words)):
            run = run + 1 if words[k] == words[k - length] else 0
            if run >= needed:
                return True
    return False


def summarise(
    answers: Sequence[Answer], written_by: str, intervals: Mapping[str, Interval], chance: ChanceLevel | None = None
) -> SetScores:
    """Return means over one arm's answers to one set of tasks, and those of each category.

    Args:
        answers: the answers.
        written_by: who wrote the tasks.
        intervals: the interval of each mean, by metric.
        chance: the chance level, if there is one.
    """
    loss = validation_loss(answers)
    categories = sorted({row.category for row in answers if row.category})
    return SetScores(
        **_means(answers),
        **_intervals(intervals),
        written_by=written_by,
        loss=UNSET if loss is None else loss,
        chance=UNSET if chance is None else chance,
        perplexity=UNSET if loss is None else round(math.exp(min(loss, 700.0)), 6),  # JSON has no infinity.
        per_category={name: Means(**_means([r for r in answers if r.category == name])) for name in categories},
    )


def _means(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the fields of `Means`."""
    errors = [format_errors(row.response, row.finish_reason) for row in answers]
    return {
        "n": len(answers),
        "n_tasks": len({row.task for row in answers}),
        **{metric.name: _mean(metric.of(row) for row in answers if metric.applies(row)) for metric in METRICS},
        "stopped": _mean(row.finish_reason == "stop" for row in answers),
        "failed": _mean(row.finish_reason == "failed" for row in answers),
        **{name: _mean(name in of_one for of_one in errors) for name in FORMAT_ERRORS},
        "mean_tokens": _mean(row.completion_tokens for row in answers),
    }


def _intervals(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """Return the fields of `SetScores` that hold the intervals of means."""
    return {f"{name}_interval": interval for name, interval in intervals.items()}


def validation_loss(answers: Iterable[Answer]) -> float | None:
    """Return the mean negative log-probability per token of the references, end tokens included, in nats.

    None when none was measured.
    """
    logprob, tokens = 0.0, 0
    for row in answers:
        if row.reference_tokens and row.reference_logprob is not UNSET:
            logprob += row.reference_logprob
            tokens += row.reference_tokens
    return round(-logprob / tokens, 6) if tokens else None


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return round(fmean(numbers), 6) if numbers else None


@dataclass(frozen=True, slots=True)
class PredictionScores:
    """Scores of a user's file of predictions: mean ROUGE-L F x 100, exact match in per cent, number of rows."""

    rouge_l: float
    exact_match: float
    n: int


def score_predictions(
    path: Path,
    prediction_field: str = "response",
    reference_field: str = "target",
    stemmer: bool = False,
    tokenizer: Tokenizer = "characters",
) -> PredictionScores:
    """Score a file of predictions (JSON Lines), read as a stream.

    Args:
        path: the file.
        prediction_field: the field that holds the answer, a string.
        reference_field: the field that holds what was expected: a string, or a list of which the best one counts.
        stemmer: cut English words to their stems before ROUGE-L.
        tokenizer: how ROUGE-L splits texts into words; see `rouge_l`.

    Raises:
        InputError: names file, line and field of the first row that cannot be scored; or the file is empty.
    """
    rouge_sum, matches, n = 0.0, 0, 0
    for number, row in jsonl.read(path):
        where = f"{path}, line {number}"
        response = field_of(row, prediction_field, where, "prediction")
        if not isinstance(response, str):
            raise InputError(f"{where}: `{prediction_field}` must be a string, got {repr(response)[:80]}")
        references = field_of(row, reference_field, where, "reference")
        if isinstance(references, str):
            references = [references]
        if not isinstance(references, list) or not references or not all(isinstance(r, str) for r in references):
            got = repr(references)[:80]
            raise InputError(f"{where}: `{reference_field}` must be a string or a non-empty list of strings, got {got}")
        rouge_sum += rouge_l(references, response, stemmer=stemmer, tokenizer=tokenizer)
        matches += exact_match(references, response)
        n += 1
    if n == 0:
        raise InputError(f"{path}: holds no predictions")
    return PredictionScores(rouge_sum / n, 100 * matches / n, n)


def field_of(row: Mapping[str, Any], name: str, where: str, kind: str) -> Any:
    """Return a field of a user's row; it may be nested.

    Args:
        row: the row.
        name: the field.
        where: file and line, for the error.
        kind: what it holds; `--<kind>-field` is the option that names it.

    Raises:
        InputError: there is no such field; names those that there are.
    """
    try:
        return value_at(row, name)
    except LookupError as error:
        raise InputError(f"{where}: {error}; name the right one with --{kind}-field") from None
