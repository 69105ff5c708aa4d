"""Make text that models wrote readable on a page: it may hold anything, at any length.

jinja2 escapes it for HTML. This module does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selfinstruct.text import duration, number, percent, shorten, size_text

REASONS = {
    "target_reached": "came after the target was reached",
    "truncated": "cut off by the token limit, or because the answer only repeated itself",
    "repetition": "ended because it only repeated itself",
    "invalid_characters": "holds characters that a text file cannot hold",
    "too_short": "too short",
    "too_long": "too long",
    "keyword": "asks for something that a language model cannot do",
    "opening": "begins like a request for a whole program",
    "leading_punctuation": "begins with punctuation",
    "foreign_script": "begins in a script that the seeds do not use",
    "identical": "has the words of an earlier one",
    "not_a_task": "no task, by the model's own judgement",
    "near_duplicate": "too close to an earlier one",
    "no_candidates": "no list in the answer",
    "prompt_too_long": "the prompt does not fit the model's context",
    "unparsable_classification": "neither yes nor no",
    "no_instances": "no instance in the answer",
    "ambiguous": "it is not clear where its parts begin",
    "placeholder": "is only a placeholder for a text",
    "empty_output": "no output",
    "output_equals_input": "output repeats the input",
    "echo": "output says the instruction or the input again",
    "loop": "repeats the same words again and again",
    "leak": "holds words of the prompt",
    "unfinished": "promises more than it holds, or ends in the middle",
    "no_material": "asks about a text that is not there",
    "identity": "says which model wrote it",
    "refusal": "declines",
    "language": "in another language than it was asked",
    "personal_data": "holds a telephone number or an e-mail address that the task does not",
    "url": "holds a web address that the task does not",
    "ends_in_colon": "ends in a colon, so something is missing after it",
    "conflicting_outputs": "the same input with two outputs",
    "duplicate_instance": "the same instance twice",
    "constraint": "breaks a constraint of its instruction",
    "low_best": "none of the answers has a high score",
    "low_worst": "one of the answers has a low score",
    "wide_spread": "the scores of the answers are far apart",
    "same_meaning": "says the same as an earlier one in other words",
    "not_chosen": "another answer to the same question was kept",
    "second_without_input": "a second one without input",
    "over_max_instances": "more instances than are kept",
    "not_selected": "not among the rows that were selected",
    "rejected_by_review": "rejected by reviewers",
    "near_evaluation_task": "close to an evaluation task",
}
"""The reasons of the journal and the export in plain words. Other reasons are shown as they are."""


def reason(name: str) -> str:
    """Return a reason in plain words.

    >>> reason("near_duplicate"), reason("some_new_one")
    ('too close to an earlier one', 'some new one')
    """
    return REASONS.get(name, shorten(name, 60).replace("_", " "))


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "duration": duration,
    "percent": percent,
    "shorten": shorten,
    "reason": reason,
    "size": size_text,
}
"""The template's filters, in addition to those of jinja2."""
