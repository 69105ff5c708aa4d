"""Kept rows: written with their key, read as types, also those of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfinstruct.errors import InputError
from selfinstruct.run.folders import EvaluationDirectory
from tuning.evaluation.answer_cache import AnswerCache, key_of
from tuning.evaluation.answers import PREDICTIONS, Answer


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(EvaluationDirectory(tmp_path / "evaluation"))


def answer(**values: str) -> Answer:
    return Answer(id="e1-0", task="e1", set="mine", instruction="Name a river.", references=("Nile",), **values)  # type: ignore[arg-type]


def test_rows_are_current_with_their_key_alone(cache: AnswerCache) -> None:
    rows = [answer(response="Nile"), answer(response="\ud800")]
    assert not cache.is_current(PREDICTIONS, "tuned", key_of(1))
    cache.write(PREDICTIONS, "tuned", rows, key_of(1))
    assert cache.read(PREDICTIONS, "tuned") == rows
    assert cache.is_current(PREDICTIONS, "tuned", key_of(1))
    assert not cache.is_current(PREDICTIONS, "tuned", key_of(2))
    assert cache.arms(PREDICTIONS) == ["tuned"]
    cache.replace(PREDICTIONS, "tuned", rows[:1])
    assert cache.is_current(PREDICTIONS, "tuned", key_of(1)) and cache.read(PREDICTIONS, "tuned") == rows[:1]
    cache.path(PREDICTIONS, "tuned").unlink()
    assert not cache.is_current(PREDICTIONS, "tuned", key_of(1)) and cache.read(PREDICTIONS, "tuned") == []


def test_what_was_not_measured_is_not_written(cache: AnswerCache) -> None:
    cache.write(PREDICTIONS, "tuned", [answer(written_by="person")], key_of(1))
    row = json.loads(cache.path(PREDICTIONS, "tuned").read_text())
    assert not {"failed", "reference_logprob", "reference_tokens"} & set(row)
    assert (row["category"], row["stemmer"], row["written_by"]) == ("", False, "person")


def test_rows_of_the_first_version_did_not_say_who_wrote_the_task(cache: AnswerCache) -> None:
    row = {"id": "e1-0", "task": "e1", "set": "mine", "category": "", "is_classification": False, "input": ""}
    row |= {"instruction": "Name a river.", "references": ["Nile"], "prompt": "p", "response": "Nile"}
    row |= {"finish_reason": "stop", "completion_tokens": 1}
    held_out = row | {"set": "validation_unseen", "reference_logprob": -3.0, "reference_tokens": 2}
    path = cache.path(PREDICTIONS, "tuned")
    path.parent.mkdir()
    path.write_text(json.dumps(row) + "\n" + json.dumps(held_out) + "\n")
    first, second = cache.read(PREDICTIONS, "tuned")
    assert (first.author, second.author) == ("person", "model")
    assert (first.stemmer, first.references, second.reference_tokens) == (False, ("Nile",), 2)


def test_a_damaged_row_is_named(cache: AnswerCache) -> None:
    cache.write(PREDICTIONS, "tuned", [answer(response="Nile")], key_of(1))
    with cache.path(PREDICTIONS, "tuned").open("a") as stream:
        stream.write('{"id": 3}\n')
    with pytest.raises(InputError, match=r"predictions-tuned\.jsonl, line 2: .*`\$\.id`"):
        cache.read(PREDICTIONS, "tuned")
