"""The models of a run are fetched before it begins, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.chain.fetch import fetch_compared, fetch_models
from selfinstruct.engines import hub
from selfinstruct.run.directory import RunDirectory

SETTINGS: dict[str, Any] = {
    "model": "owner/generator",
    "revision": "v2",
    "tune": {"model": "owner/tuned"},
    "regenerate": {"model": "owner/rewriter"},
    "evaluate": {"judge": "owner/judge"},
}


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(hub, "whole_model", lambda name, revision: asked.append((name, revision)))
    return asked


def test_every_model_of_a_fresh_run_is_fetched(make_config: Any, tmp_path: Path, fetched: list[Any]) -> None:
    fetch_models(make_config(**SETTINGS), RunDirectory(tmp_path / "run"))
    names = ["tuned", "rewriter", "judge"]
    assert fetched == [("owner/generator", "v2"), *((f"owner/{name}", None) for name in names)]


def test_a_judge_elsewhere_and_a_model_yet_to_be_tuned_are_not_fetched(
    make_config: Any, tmp_path: Path, fetched: list[Any]
) -> None:
    elsewhere = {"judge": "gpt", "judge_endpoint": "http://localhost:8000/v1"}
    config = make_config(model="owner/generator", evaluate=elsewhere, regenerate={"model": "tuned"})
    fetch_models(config, RunDirectory(tmp_path / "run"))
    assert fetched == [("owner/generator", None)]


def test_a_run_that_has_begun_fetches_nothing_at_once(make_config: Any, tmp_path: Path, fetched: list[Any]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_text("")
    fetch_models(make_config(**SETTINGS), RunDirectory(tmp_path / "run"))
    assert fetched == []


def test_the_models_of_an_evaluation_are_fetched_before_it(make_config: Any, fetched: list[Any]) -> None:
    models = ["tuned", "base", "base=owner/base", "owner/alone", "a=owner/a=b", "broken="]
    fetch_compared(make_config(evaluate={"judge": "owner/judge"}).evaluate, models)
    assert [name for name, _ in fetched] == ["owner/base", "owner/alone", "owner/a=b", "owner/judge"]
    elsewhere = {"judge": "gpt", "judge_endpoint": "http://localhost:8000/v1"}
    fetch_compared(make_config(evaluate=elsewhere).evaluate, [])
    assert len(fetched) == 4
