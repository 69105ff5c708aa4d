"""How varied a run is: lengths, growth, neighbours, samples, verbs and who is mentioned."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.filters.row import Row
from selfinstruct.report import variety as module
from selfinstruct.report.mentions import mentions
from selfinstruct.report.sensitive import personal, secrets
from selfinstruct.report.variety import growth, quantiles, sample, variety
from selfinstruct.report.verb_object import Verb, most_frequent, verb_and_object
from tests.conftest import run_scripted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Write a short poem about the sea.", ("write", "poem")),
        ("Please give me a list of three rivers.", ("give", "list")),
        ("Could you explain the water cycle to a child?", ("explain", "cycle")),
        ("Your task is to classify this review as good or bad.", ("classify", "review")),
        ("Write an email describing a holiday", ("write", "email")),
        ("EXPLAIN RECURSION", ("explain", "recursion")),
        ("Refactor the stories", ("refactor", "story")),
        ("Hey there, can you give me available options", ("give", "option")),
        ("Analyse data and boxes", ("analyse", "data")),
        ("Re-write a JSON file", ("rewrite", "file")),
        ("Hey there, Michael!", None),
        ("Michael Jordan plays basketball", None),
        ("Thanks everybody", None),
        ("Écris une lettre", None),
        ("What is the capital of Kenya?", None),
        ("Don't panic", None),
        ("I moved house", None),
        ("Run.", None),
        ("Write about the sea.", None),
        ("12 monkeys", None),
        ("写一首诗", None),
        ("", None),
        (" \n", None),
    ],
)
def test_the_verb_and_the_object_of_an_imperative(text: str, found: tuple[str, str] | None) -> None:
    assert verb_and_object(text) == found


def test_equal_counts_are_sorted() -> None:
    pairs = [("write", "poem"), ("write", "poem"), ("name", "story"), ("name", "bus"), ("write", "letter")]
    assert most_frequent(pairs) == [
        Verb("write", 3, [("poem", 2), ("letter", 1)]),
        Verb("name", 2, [("bus", 1), ("story", 1)]),
    ]
    assert most_frequent(pairs, verbs=1, objects=1) == [Verb("write", 3, [("poem", 2)])]


def test_growth_counts_what_is_new_in_the_first_and_in_the_last_tenth() -> None:
    fresh = [[f"{k}a", f"{k}b", f"{k}c"] for k in range(10)]
    found = growth([*fresh, *[fresh[0]] * 10], [("write", "poem")] * 20)
    assert (found.new_first, found.new_last) == (1.0, 0.0)
    assert found.triples[-1] == (20, 10) and found.triples[9] == (10, 10)
    assert found.pairs[-1] == found.verbs[-1] == (20, 1)
    assert found.saturating
    assert not growth([[f"{k}a", f"{k}b", f"{k}c"] for k in range(20)], [None] * 20).saturating
    assert growth([[]], [None]).new_last == 0.0, "nothing was written"


def test_quantiles_by_nearest_rank() -> None:
    assert quantiles([]) == []
    assert quantiles([7]) == [7, 7, 7, 7]
    assert quantiles([5, 1, 3]) == [1, 3, 5, 5]


def test_a_sample_stays_as_a_run_grows() -> None:
    names = [(f"p{k}", k) for k in range(300)]
    few, more = sample(names[:100], 30), sample(names, 30)
    assert len(few) == len(more) == 30
    assert set(more) & set(range(100)) <= set(few), "who stays was there before"
    assert sample(names, 300) == sample(names, 1000) == list(range(300))


def test_rows_are_counted_once_for_each_group() -> None:
    (women, religion) = mentions([["she", "her", "mother"], ["muslim"], ["tree"]], [["she"], ["she"]])
    assert (women.here, women.seeds, women.words) == (1, 2, ["her", "mother", "she"])
    assert (religion.here, religion.seeds) == (1, 0)
    assert mentions([], []) == []


def test_personal_data_is_masked() -> None:
    rows = [Row("Write a letter.", "", f"Write to anna.muster{k}@firma.de today.") for k in range(9)]
    rows.append(Row("Greet anna.muster@firma.de", "", "Hello anna.muster@firma.de!"))
    (found,) = personal(rows)
    assert (found.what, found.rows) == ("e-mail address", 9)
    assert found.examples == ["ann….de"] * 3


def test_secrets_are_found_and_masked() -> None:
    key = "AKIA" + "QRSTUVWX" * 2
    token = "ghp_" + "aB3" * 12
    rows = [
        Row("Write a configuration.", "", f"key = {key}\ntoken = {token}"),
        Row(f"What is {key}?", "", "A key."),
        Row("Show a key.", "", "AKIAIOSFODNN7EXAMPLE"),
        Row("Set a password.", "", 'password = "correct horse"'),
    ]
    found = {one.what: (one.rows, one.examples) for one in secrets(rows)}
    assert found == {"AWS Access Key": (2, ["AKI…WX"] * 2), "GitHub Token": (1, ["ghp…B3"])}


def test_a_run_and_its_seeds(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()
    state = run_scripted(config)
    found = variety(state, load_seed_tasks(config.seeds))
    assert found.rows == state.num_instances
    assert [kind.name for kind in found.lengths] == ["instructions", "inputs", "outputs"]
    assert all(kind.here and kind.seeds for kind in found.lengths)
    assert len(found.neighbours) == len(state.pool) - 1, "the first one has none before it"
    assert all(0 <= score <= 0.7 for score in found.neighbours)
    assert found.looked_at == found.rows and sum(n for _, n in found.languages) == len(state.pool)
    monkeypatch.setattr(module, "NEIGHBOURS", 5)
    monkeypatch.setattr(module, "DETECTED", 7)
    smaller = variety(state, [])
    assert (len(smaller.neighbours), smaller.looked_at, sum(n for _, n in smaller.languages)) == (5, 7, 7)
    assert smaller.seed_rows == 0 and not smaller.lengths[0].seeds
