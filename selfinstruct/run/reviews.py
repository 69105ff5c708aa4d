"""`reviews.jsonl`: what people say about rows, one line for each answer; the last one of a person about a row counts.

    {"row": "p000001-02-0", "text": hash of the row's texts, "reviewer": "Ada", "task": true, "input": true,
     "output": false, "time": Unix seconds}

The questions are those of the paper (section 3.3, table 2). An answer counts only for a row with these very texts.
`--overwrite` does not remove the file: it is people's work.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import msgspec

from selfinstruct.errors import SelfInstructError
from selfinstruct.formats import jsonl

QUESTIONS = {
    "task": "Does the instruction describe a valid task?",
    "input": "Is the input appropriate for the instruction?",
    "output": "Is the output a correct and acceptable response to instruction and input?",
}
"""The questions by the name of their answer."""
OF_PAPER = {"task": 0.92, "input": 0.79, "output": 0.58, "all": 0.54}
"""The shares of yes in table 2 of the paper, of 200 rows that GPT-3 wrote and an author read; `all`: yes to each."""


class Review(msgspec.Struct, frozen=True):
    """The answers of a person about a row; `text` is `fingerprint` of the row that was read."""

    row: str
    text: str
    reviewer: str
    task: bool
    input: bool
    output: bool
    time: float = 0.0

    @property
    def all(self) -> bool:
        """Return whether every answer is yes."""
        return self.task and self.input and self.output


@dataclass(frozen=True)
class Share:
    """What people answered to one question.

    Attributes:
        yes: mean over rows of the share of their reviewers who say yes, in [0, 1].
        agreement: Krippendorff's alpha, at most 1, 0 for chance; None with fewer than two reviewers of a row, or where
            all answers are the same.
    """

    yes: float
    agreement: float | None


@dataclass(frozen=True)
class ReviewSummary:
    """What people say about the rows of a run.

    Attributes:
        rows: number of rows that were reviewed.
        reviewers: number of reviewed rows by person.
        shares: by question, and `all`.
        rejected: ids of the rows to which at least half of the reviewers answered no somewhere.
    """

    rows: int
    reviewers: dict[str, int]
    shares: dict[str, Share]
    rejected: frozenset[str]


def fingerprint(instruction: str, input_text: str, output: str) -> str:
    """Return a hash of a row's texts.

    Args:
        instruction: of the row.
        input_text: its input, or an empty text.
        output: its output.
    """
    texts = json.dumps([instruction, input_text, output])
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


def read_reviews(path: Path) -> list[Review]:
    """Return the answers that count, in the order in which they were first given; none if there is no file.

    A line that a crash cut is left out: nobody had a message that it is kept.
    """
    latest: dict[tuple[str, str, str], Review] = {}
    for raw in path.read_bytes().splitlines() if path.exists() else ():
        try:
            review = msgspec.json.decode(raw, type=Review)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        latest[review.row, review.text, review.reviewer] = review
    return list(latest.values())


def add_review(path: Path, review: Review) -> None:
    """Append an answer. When this returns it survives power loss. Several processes may do so at once.

    Raises:
        SelfInstructError: the file cannot be written.
    """
    line = msgspec.json.encode(msgspec.structs.replace(review, time=round(time.time(), 3))) + b"\n"
    try:
        is_new = not path.exists()
        with path.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            size = stream.seek(0, os.SEEK_END)
            if size and (stream.seek(size - 1), stream.read(1))[1] != b"\n":
                line = b"\n" + line  # A crash cut the line before.
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            jsonl.fsync_directory(path.parent)
    except OSError as error:
        raise SelfInstructError(f"{path}: cannot be written: {error.strerror}; earlier answers are kept") from error


def summarise(reviews: Iterable[Review], texts: dict[str, str]) -> ReviewSummary | None:
    """Return what people say about rows; None if nobody reviewed one of them.

    Args:
        reviews: the answers that count.
        texts: `fingerprint` by id of the rows as they are now.
    """
    of_row: dict[str, list[Review]] = defaultdict(list)
    for review in reviews:
        if texts.get(review.row) == review.text:
            of_row[review.row].append(review)
    if not of_row:
        return None
    shares = {}
    for name in (*QUESTIONS, "all"):
        answers = [[bool(getattr(review, name)) for review in some] for some in of_row.values()]
        yes = sum(sum(some) / len(some) for some in answers) / len(answers)
        shares[name] = Share(yes, alpha(answers))
    rejected = (row for row, some in of_row.items() if sum(not review.all for review in some) * 2 >= len(some))
    by_person = Counter(review.reviewer for some in of_row.values() for review in some)
    return ReviewSummary(len(of_row), dict(sorted(by_person.items())), shares, frozenset(rejected))


def alpha(answers: Iterable[Collection[bool]]) -> float | None:
    """Return Krippendorff's alpha of nominal answers (Krippendorff, Content Analysis, 4th edition, section 12.3).

    None: no item has two answers, or all answers are the same, so that agreement by chance cannot be computed.

    Args:
        answers: those about each item; items may have different numbers of them.
    """
    weights: dict[tuple[bool, bool], float] = defaultdict(float)
    for some in answers:
        if len(some) > 1:
            for first, second in permutations(some, 2):
                weights[first, second] += 1 / (len(some) - 1)
    yes, no = (sum(weight for (first, _), weight in weights.items() if first is value) for value in (True, False))
    if not yes or not no:
        return None
    observed, expected = weights[True, False] + weights[False, True], 2 * yes * no / (yes + no - 1)
    return 1 - observed / expected
