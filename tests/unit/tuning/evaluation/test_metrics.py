"""ROUGE-L and exact match: rouge_score is the judge, except where it would measure nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from selfinstruct.errors import InputError
from tests import rouge
from tuning.evaluation import metrics
from tuning.evaluation.answers import Answer

TEXTS = [
    "",
    "Yes",
    "The cat sat on the mat, and it's running quickly.",
    "the cats were RUNNING quickly; mats 42 x 17",
    "Größe und Café naïve — déjà vu",
    "def add(a, b):\n    return a + b",
    "  spaces \u2028 and\ttabs  ",
    "half русский half english words here and there",
]
VOCABULARY = "the cat cats run running ran 12 a, B. it's Café".split()


def pairs() -> list[tuple[str, str]]:
    draw = random.Random(7)
    made = [" ".join(draw.choices(VOCABULARY, k=draw.randint(0, 30))) for _ in range(200)]
    return [(a, b) for a in TEXTS for b in TEXTS] + list(zip(made[::2], made[1::2], strict=True))


@pytest.mark.parametrize("stemmer", [False, True])
def test_rouge_l_of_ascii_text_is_rouge_scores_and_that_of_all_text_is_available(stemmer: bool) -> None:
    judge = rouge.scorer(stemmer=stemmer)
    for reference, response in pairs():
        expected = 100 * judge.score(reference, response)["rougeL"].fmeasure
        assert metrics.rouge_l([reference], response, stemmer=stemmer, tokenizer="rouge_score") == expected
        if reference.isascii() and response.isascii():
            assert metrics.rouge_l([reference], response, stemmer=stemmer) == expected, (reference, response)


def test_the_stemmer_makes_a_difference() -> None:
    assert metrics.rouge_l(["running quickly"], "runs quickly") == 50
    assert metrics.rouge_l(["running quickly"], "run quickly", stemmer=True) == 100


def test_the_best_reference_counts() -> None:
    references = ["a dog barks", "the cat sat", "nothing"]
    expected = rouge.scorer().score_multi(references, "the cat ran")["rougeL"].fmeasure
    assert metrics.rouge_l(references, "the cat ran") == 100 * expected


@pytest.mark.parametrize(
    ("reference", "response", "expected"),
    [
        ("写诗", "写诗", 100),
        ("写诗", "写字", 50),
        ("привет мир", "Привет, мир!", 100),
        ("привет мир", "hello", 0),
        ("สวัสดี", "", 0),
    ],
)
def test_other_scripts_are_measured(reference: str, response: str, expected: float) -> None:
    assert metrics.rouge_l([reference], response) == expected


@pytest.mark.parametrize(
    ("reference", "response"), [("có", "cứ"), ("Łódź", "dół"), ("şey", "ğey"), ("café", "caf"), ("c", "cứ")]
)
def test_letters_outside_ascii_count(reference: str, response: str) -> None:
    assert rouge.scorer().score(reference, response)["rougeL"].fmeasure == 1
    assert metrics.rouge_l([reference], response) == 0
    assert metrics.rouge_l([reference], response, tokenizer="rouge_score") == 100


@pytest.mark.parametrize("text", ["Á", "Zoé était là", "한국어 문장", "tiếng Việt"])
def test_normal_forms_make_no_difference(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    assert metrics.rouge_l([text], decomposed) == metrics.rouge_l([decomposed], text) == 100
    assert metrics.exact_match([text], decomposed)


def test_only_words_in_ascii_are_stemmed() -> None:
    assert metrics.rouge_l(["die cats träumten"], "die cat träumten", stemmer=True) == 100
    assert metrics.rouge_l(["träumes"], "träume", stemmer=True) == 0


@pytest.mark.parametrize(
    ("reference", "response", "same"),
    [
        ("Yes", "yes", True),
        ("yes", "  Yes.\n", True),
        ("Positive!", "positive", True),
        ("是。", "是", True),
        ("Yes", "Yes, it is", False),
        ("no", "not", False),
        ("a b", "a  b", False),
        ("?", "", False),
        ("?", "?", True),
        ("", "", True),
        ("3.5", "35", False),
        ("Straße", "STRASSE", True),
    ],
)
def test_exact_match(reference: str, response: str, same: bool) -> None:
    assert metrics.exact_match([reference], response) is same


def test_exact_match_takes_any_reference() -> None:
    assert metrics.exact_match(["no", "Yes"], "yes")


# --------------------------------------------------------------------------------------------- summarise


def row(**values: Any) -> Answer:
    default = {"id": "t1-0", "task": "t1", "set": "mine", "references": ("a b",), "response": "a b"}
    return Answer(**(default | {"completion_tokens": 2} | values))


def test_summarise() -> None:
    rows = [
        row(category="x"),
        row(category="x", response="a c", finish_reason="length", completion_tokens=4),
        row(category="y", task="t2", is_classification=True, response="A b."),
        row(category="y", task="t3", is_classification=True, response="", finish_reason="failed", completion_tokens=0),
    ]
    found = metrics.summarise(rows, "person", {})
    by_category = found.per_category
    assert msgspec.to_builtins(replace(found, per_category={})) == {
        "written_by": "person",
        "rouge_l_interval": None,
        "exact_match_interval": None,
        "per_category": {},
        "n": 4,
        "n_tasks": 3,
        "rouge_l": 62.5,
        "rouge_l_equal": 62.5,
        "exact_match": 50.0,
        "stopped": 0.5,
        "failed": 0.25,
        "empty": 0.25,
        "no_eos": 0.25,
        "repeats": 0.0,
        "truncated": 0.25,
        "mean_tokens": 2,
    }
    assert by_category["x"].rouge_l == 75
    assert by_category["x"].exact_match is None
    assert by_category["y"].n_tasks == 2


@pytest.mark.parametrize(
    ("response", "finish_reason", "errors"),
    [
        ("Paris.", "stop", set()),
        ("", "stop", {"empty"}),
        (" \n", "length", {"empty", "no_eos"}),
        ("", "failed", {"empty"}),
        ("The first of the seven reasons", "length", {"no_eos", "truncated"}),
        ("It is so. " * 9, "length", {"no_eos", "repeats"}),
        ("It is so. " * 9, "stop", {"repeats"}),
        ("It is so. " * 8 + "It is", "length", {"no_eos", "repeats"}),
        ("The steps:", "stop", {"truncated"}),
        ("apples, pears,", "stop", {"truncated"}),
        ("```python\nx = 1", "stop", {"truncated"}),
        ("```python\nx = 1\n```", "stop", set()),
        ("重复的话。" * 6, "stop", {"repeats"}),
    ],
)
def test_format_errors(response: str, finish_reason: str, errors: set[str]) -> None:
    assert metrics.format_errors(response, finish_reason) == errors


WORDS = st.lists(st.sampled_from(["a", "b"]), max_size=6)


@given(WORDS, WORDS, st.integers(1, 14), WORDS)
def test_repeats_is_what_it_says(before: list[str], unit: list[str], times: int, after: list[str]) -> None:
    """Against the definition, word for word."""
    words = before + unit * times + after
    said = any(
        words[start : start + n * times] == words[start : start + n] * times
        for n in range(1, 61)
        for times in [max(4, -(-12 // n))]
        for start in range(len(words) - n * times + 1)
    )
    assert metrics.repeats(" ".join(words)) is said


def test_the_stemmer_is_the_rows_own() -> None:
    rows = [row(references=("runs",), response="running", stemmer=True), row(references=("runs",), response="running")]
    assert [metrics.METRICS[0].of(each) for each in rows] == [100, 0]


def test_a_mean_of_stemmed_rows_is_recomputed_with_stems(tmp_path: Path) -> None:
    """As the benchmark does; without stems the same answers have another mean."""
    pairs = [("the cats were running", "a cat runs"), ("walked home", "she walks home"), ("Yes.", "yes, running")]
    rows = [row(id=str(n), references=[a], response=b, stemmer=True) for n, (a, b) in enumerate(pairs)]
    judge = rouge.scorer(stemmer=True)
    expected = sum(100 * judge.score(a, b)["rougeL"].fmeasure for a, b in pairs) / 3
    assert metrics.summarise(rows, "person", {}).rouge_l == pytest.approx(expected, abs=1e-6)
    path = write(tmp_path / "rows.jsonl", *({"references": [a], "response": b} for a, b in pairs))
    scored = [metrics.score_predictions(path, reference_field="references", stemmer=stems) for stems in (True, False)]
    assert scored[0].rouge_l == pytest.approx(expected) and scored[1].rouge_l < expected - 5


def test_loss_is_per_token_and_only_where_it_was_measured() -> None:
    rows = [
        row(reference_logprob=-6.0, reference_tokens=2),
        row(reference_logprob=-1.0, reference_tokens=8),
        row(),
    ]
    assert metrics.summarise(rows, "person", {}).loss == 0.7
    assert metrics.summarise(rows, "person", {}).perplexity == pytest.approx(2.013753)
    assert not metrics.summarise([row()], "person", {}).loss


def test_nothing_to_summarise_holds_no_nan() -> None:
    found = metrics.summarise([], "person", {})
    assert found.n == 0
    assert found.rouge_l is None
    json.dumps(msgspec.to_builtins(found), allow_nan=False)


# --------------------------------------------------------------------------------------- score_predictions


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def test_score_predictions(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        {"response": "the cat sat", "target": "The cat sat."},
        {"response": "a dog", "target": ["nothing", "a cat"]},
    )
    assert metrics.score_predictions(path) == metrics.PredictionScores(rouge_l=75.0, exact_match=50.0, n=2)


def test_score_predictions_by_other_fields_and_stems(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"answer": "running", "gold": "runs", "response": 1})
    assert metrics.score_predictions(path, "answer", "gold").rouge_l == 0
    assert metrics.score_predictions(path, "answer", "gold", stemmer=True).rouge_l == 100


GOOD = {"response": "a", "target": "a"}


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"target": "a"}, "`response`"),
        ({"response": "a", "gold": "b"}, "`target`"),
        ({"response": None, "target": "a"}, "`response` must be a string, got None"),
        ({"response": "a", "target": 3}, "`target` must be a string or a non-empty list of strings, got 3"),
        ({"response": "a", "target": []}, "`target` must be"),
        ({"response": "a", "target": ["a", None]}, "`target` must be"),
        ("{broken", "not valid JSON"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, bad: Any, expected: str) -> None:
    path = write(tmp_path / "p.jsonl", GOOD, bad)
    with pytest.raises(InputError) as error:
        metrics.score_predictions(path)
    assert f"{path}, line 2: " in str(error.value)
    assert expected in str(error.value)


def test_a_missing_field_names_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"response": "a", "output": "b"})
    with pytest.raises(InputError, match=r"has: `response`, `output`\); name .* --reference-field"):
        metrics.score_predictions(path)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_no_score(tmp_path: Path, content: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="holds no predictions"):
        metrics.score_predictions(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl"):
        metrics.score_predictions(tmp_path / "none.jsonl")


@pytest.mark.whole
def test_scoring_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'vllm', 'nltk', 'scipy', 'numpy'}"
    code = (
        f"import sys, tuning.evaluation.metrics as s; s.rouge_l(['a'], 'a'); print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
