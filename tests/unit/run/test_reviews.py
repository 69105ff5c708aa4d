"""What people say about rows: kept durably, counted, their agreement."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.errors import SelfInstructError
from selfinstruct.run.reviews import Review, add_review, alpha, fingerprint, read_reviews, summarise

TEXT = fingerprint("Do it.", "", "Done.")


def review(row: str, reviewer: str = "Ada", answers: str = "yyy", text: str = TEXT) -> Review:
    return Review(row, text, reviewer, *(answer == "y" for answer in answers))


def test_the_last_answer_of_a_person_about_a_row_counts(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    assert read_reviews(path) == []
    for one in (review("a"), review("b"), review("a", "Bob", "nnn"), review("a", answers="yny")):
        add_review(path, one)
    assert [(one.row, one.reviewer, one.input) for one in read_reviews(path)] == [
        ("a", "Ada", False),
        ("b", "Ada", True),
        ("a", "Bob", False),
    ]
    assert all(one.time > 1e9 for one in read_reviews(path))


def test_an_answer_cut_by_a_crash_is_left_out_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    add_review(path, review("a"))
    whole = path.read_bytes()
    for cut in range(len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        add_review(path, review("b"))
        assert [one.row for one in read_reviews(path)] == ["a", "b"], cut


def _add(path: Path, name: str) -> None:
    for number in range(5):
        add_review(path, review(f"r{number}", name))


def test_several_processes_add_at_once(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    context = multiprocessing.get_context("fork")
    people = [context.Process(target=_add, args=(path, name)) for name in ("Ada", "Bob", "Cleo")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(read_reviews(path)) == 15


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SelfInstructError, match=r"reviews\.jsonl: cannot be written"):
        add_review(tmp_path / "missing" / "reviews.jsonl", review("a"))


def test_shares_and_rejected_rows() -> None:
    reviews = [review("a"), review("b", answers="yyn"), review("a", "Bob"), review("c", answers="nnn", text="other")]
    summary = summarise([*reviews, review("d", answers="ynn"), review("d", "Bob")], dict.fromkeys("abcd", TEXT))
    assert summary is not None
    assert summary.rows == 3 and summary.reviewers == {"Ada": 3, "Bob": 2}, "c was another text when it was read"
    assert summary.shares["task"].yes == 1 and summary.shares["output"].yes == pytest.approx((1 + 0 + 0.5) / 3)
    assert summary.rejected == {"b", "d"}, "of d, half of its reviewers"
    assert summarise(reviews, {}) is None


def test_alpha_of_a_worked_example() -> None:
    """Krippendorff's example of two observers and ten binary items: alpha is 0.095."""
    first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert alpha([[bool(a), bool(b)] for a, b in zip(first, second, strict=True)]) == pytest.approx(0.095, abs=5e-4)


@given(st.lists(st.lists(st.booleans(), max_size=4), max_size=12))
def test_alpha_is_at_most_one_and_needs_two_answers_that_differ(answers: list[list[bool]]) -> None:
    value = alpha(answers)
    pairable = [one for some in answers if len(some) > 1 for one in some]
    if len(set(pairable)) < 2:
        assert value is None
    else:
        assert value is not None and value <= 1
        assert (value == pytest.approx(1)) == all(len(set(some)) < 2 for some in answers)
