"""Instructions that mean the same: which of them go, with an encoder of random weights and with made-up vectors."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.chain import chain
from selfinstruct.checks import tuning_preview
from selfinstruct.checks.preflight import check
from selfinstruct.dataset import semantic
from selfinstruct.dataset.semantic import embed, near_duplicates
from selfinstruct.errors import ConfigError
from selfinstruct.formats import jsonl
from selfinstruct.packaged import model_path
from selfinstruct.run.directory import RunDirectory
from tests.conftest import run_scripted


def unit(*rows: list[float]) -> np.ndarray[Any, Any]:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_text_goes_that_is_near_one_that_stays() -> None:
    vectors = unit([1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 1])
    assert near_duplicates(vectors, 0.9) == {1: (0, 0.995), 3: (2, 0.995)}
    # Only what stays counts: the second is gone, so that it takes nothing with it.
    assert near_duplicates(unit([1, 0], [1, 0.5], [1, 1]), 0.85) == {1: (0, 0.8944)}


def test_earlier_texts_stay_however_alike_they_are() -> None:
    assert near_duplicates(unit([1, 0], [1, 0], [1, 0]), 0.9, known=2) == {2: (0, 1.0)}


def one_by_one(vectors: np.ndarray[Any, Any], most: float, known: int) -> set[int]:
    kept, gone = list(range(known)), set()
    for k in range(known, len(vectors)):
        if kept and float((vectors[kept] @ vectors[k]).max()) >= most:
            gone.add(k)
        else:
            kept.append(k)
    return gone


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 5))
def test_all_pairs_are_compared(seed: int, number: int, known: int) -> None:
    vectors = unit(*np.random.default_rng(seed).normal(size=(number, 3)).tolist())
    known = min(known, number)
    assert near_duplicates(vectors, 0.8, known).keys() == one_by_one(vectors, 0.8, known)


def test_the_recall_of_the_approximate_index_against_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand groups of three texts; in each the second and the third are near the first."""
    monkeypatch.setattr(semantic, "_EXACT", 0)
    random = np.random.default_rng(0)
    firsts = random.normal(size=(1000, 64))
    rows = np.concatenate([firsts + random.normal(scale=0.3, size=firsts.shape) for _ in range(3)])
    vectors = unit(*rows.tolist())
    gone, exact = near_duplicates(vectors, 0.85, 500), one_by_one(vectors, 0.85, 500)
    assert len(exact) > 1000
    assert len(gone.keys() & exact) / len(exact) > 0.99
    for k, near in gone.items():
        assert near.cosine >= 0.85
        assert near.cosine == pytest.approx(float(vectors[k] @ vectors[near.position]), abs=1e-4)


def test_without_semhash_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"\.\[semantic\]"):
        near_duplicates(unit([1, 0]), 0.9)


def test_a_static_embedding_model(tmp_path: Path) -> None:
    """Its vector of a text is the mean of its tokens' vectors, here those of the packaged model."""
    from model2vec import StaticModel
    from tokenizers import Tokenizer
    from transformers import AutoModel

    tokens = AutoModel.from_pretrained(str(model_path())).get_input_embeddings().weight.detach().float().numpy()
    tokenizer = Tokenizer.from_file(str(model_path() / "tokenizer.json"))
    StaticModel(tokens, tokenizer).save_pretrained(tmp_path / "static")
    texts = ["Name a river in the north.", "In the north, name a river.", "Write two lines about bread.", ""]
    vectors = embed(texts, str(tmp_path / "static"))
    expected = tokens[tokenizer.encode(texts[2], add_special_tokens=False).ids].mean(0)
    assert np.allclose(vectors[2], expected / np.linalg.norm(expected), atol=1e-4)
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], atol=1e-5)
    assert near_duplicates(vectors, 0.85).keys() == {1}


def test_an_encoder_gives_vectors_of_length_1_whatever_stands_beside_a_text() -> None:
    vectors = embed(["a river", "a very long text about a river in the north", "a river"], str(model_path()))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5)
    assert np.allclose(vectors[0], embed(["a river"], str(model_path()))[0], atol=1e-5)


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError):
        embed(["a"], str(tmp_path))


@pytest.mark.whole
def test_an_export_with_a_packaged_encoder_finds_all_that_the_cosines_of_all_pairs_find(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, by an encoder in a folder: nothing is mocked. Its recall against exact cosine is 1."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tasks = list(run_scripted(make_config(num_instructions=30)).tasks())
    vectors = embed([task.instruction for task in tasks], str(model_path())).astype(float)
    nearest = sorted(float((vectors[:k] @ vectors[k]).max()) for k in range(1, len(tasks)))
    most = sum(nearest[len(nearest) // 2 - 1 : len(nearest) // 2 + 1]) / 2  # So that some go, and some stay.
    kept: list[int] = []
    expected: dict[str, tuple[str, float]] = {}
    for k, task in enumerate(tasks):
        near, cosine = max(
            ((j, float(vectors[k] @ vectors[j])) for j in kept), key=lambda two: two[1], default=(0, 0.0)
        )
        if cosine > most:
            expected[task.id] = tasks[near].id, cosine
        else:
            kept.append(k)
    config = make_config(num_instructions=30, export={"embedding_model": str(model_path()), "max_cosine": most})
    chain.export(config)
    found = {row["id"]: row for _, row in jsonl.read(RunDirectory.at(config.output_dir).dataset.same_meaning)}
    assert expected and len(kept) > 2 and found.keys() == expected.keys()
    for name, (nearest, cosine) in expected.items():
        assert found[name]["nearest"]["id"] == nearest
        assert found[name]["cosine"] == pytest.approx(cosine, abs=1e-3)


def test_the_export_leaves_them_out_and_says_what_they_are_like(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(export={"embedding_model": "some/encoder", "validation_unseen": 0.0, "validation_seen": 0.0})
    run_scripted(config)
    # Texts of the same first letter say the same here.
    letters = "abcdefghijklmnopqrstuvwxyz"
    monkeypatch.setattr(
        semantic, "embed", lambda texts, model: np.eye(26)[[letters.index(t[0].lower()) for t in texts]]
    )
    chain.export(config)
    run = RunDirectory.at(config.output_dir)
    rows = [row for _, row in jsonl.read(run.dataset.split("train"))]
    alike = [row for _, row in jsonl.read(run.dataset.same_meaning)]
    first = {row["id"].rpartition("-")[0]: row for row in rows}
    assert alike and all(row["nearest"]["instruction"][0] == row["instruction"][0] for row in alike)
    assert not first.keys() & {row["id"] for row in alike}
    counts = run.dataset.export_counts()
    assert counts.instructions.left_out == {"same_meaning": len(alike)}
    assert counts.instances.accepted == len(rows) + counts.instances.left_out["same_meaning"]
    assert "says the same in other words" in run.dataset.card.read_text()
    chain.export(config.model_copy(update={"export": config.export.model_copy(update={"embedding_model": None})}))
    assert not run.dataset.same_meaning.exists() and not run.dataset.export_counts().instances.left_out


def test_the_preflight_of_a_whole_chain_misses_semhash_before_the_night(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "semhash" else found(name))
    monkeypatch.setattr(tuning_preview, "started", lambda *_: contextlib.nullcontext())
    for tuned, expected in ((True, True), (False, False)):
        problems = check(make_config(export={"embedding_model": "some/encoder"}), tuned=tuned).problems
        assert any("semhash is not installed" in str(problem) for problem in problems) == expected
