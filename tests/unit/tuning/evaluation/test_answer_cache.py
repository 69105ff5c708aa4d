"""Kept rows: by their keys, read as types, also those of earlier versions."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from selfinstruct.errors import InputError, SelfInstructError
from selfinstruct.run.folders import EvaluationDirectory
from tuning.evaluation.answer_cache import AnswerCache, key_of
from tuning.evaluation.answers import PREDICTIONS, Answer


@pytest.fixture
def cache(tmp_path: Path) -> AnswerCache:
    return AnswerCache(EvaluationDirectory(tmp_path / "evaluation"))


def answer(**values: str) -> Answer:
    return Answer(id="e1-0", task="e1", set="mine", instruction="Name a river.", references=("Nile",), **values)  # type: ignore[arg-type]


def test_rows_are_kept_by_their_keys_whatever_is_written(cache: AnswerCache) -> None:
    rows = {key_of(1): answer(response="Nile"), key_of(2): answer(response="\ud800")}
    assert cache.kept(PREDICTIONS, "tuned") == {}
    cache.keep(PREDICTIONS, "tuned", rows)
    assert cache.arms(PREDICTIONS) == [] and cache.read(PREDICTIONS, "tuned") == []
    cache.write(PREDICTIONS, "tuned", [answer(response="Congo")])
    assert cache.arms(PREDICTIONS) == ["tuned"]
    assert cache.read(PREDICTIONS, "tuned") == [answer(response="Congo")]
    assert cache.kept(PREDICTIONS, "tuned") == rows
    cache.keep(PREDICTIONS, "tuned", {key_of(2): answer(response="Volta"), key_of(3): answer(response="Niger")})
    kept = cache.kept(PREDICTIONS, "tuned")
    assert [row.response for row in kept.values()] == ["Nile", "Volta", "Niger"]


@pytest.mark.whole
def test_a_row_that_a_killed_process_left_incomplete_is_made_again(cache: AnswerCache, tmp_path: Path) -> None:
    with cache.keeping(PREDICTIONS, "tuned") as keep:
        keep("1", answer(response="Nile"))
        path = tmp_path / "evaluation" / "kept" / "predictions-tuned.jsonl"
        whole = path.read_bytes()
        keep("2", answer(response="Lua\u030bla"))
    both = path.read_bytes()
    for end in range(len(whole), len(both)):
        path.write_bytes(both[:end])
        assert list(cache.kept(PREDICTIONS, "tuned")) == ["1"]
        path.write_bytes(both[:end])
        cache.keep(PREDICTIONS, "tuned", {"3": answer(response="Congo")})
        assert list(cache.kept(PREDICTIONS, "tuned")) == ["1", "3"]
    path.write_bytes(whole + b"\0" * 30 + b"\n")
    assert list(cache.kept(PREDICTIONS, "tuned")) == ["1"], "zeros after a power loss"


def test_a_full_disk_keeps_the_rows_before(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(handle: int, data: bytes) -> int:
        if b"Volta" in data:
            return write(handle, data[:20])
        if b'"row"' not in data and data.endswith(b"}\n"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(SelfInstructError, match=r"kept/predictions-tuned\.jsonl: cannot be written: No space"):
            cache.keep(PREDICTIONS, "tuned", {"1": answer(response="Nile"), "2": answer(response="Volta")})
    assert list(cache.kept(PREDICTIONS, "tuned")) == ["1"]


def test_what_was_not_measured_is_not_written(cache: AnswerCache) -> None:
    cache.write(PREDICTIONS, "tuned", [answer(written_by="person")])
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
    cache.write(PREDICTIONS, "tuned", [answer(response="Nile")])
    with cache.path(PREDICTIONS, "tuned").open("a") as stream:
        stream.write('{"id": 3}\n')
    with pytest.raises(InputError, match=r"predictions-tuned\.jsonl, line 2: .*`\$\.id`"):
        cache.read(PREDICTIONS, "tuned")
