"""`similar_all`: the most similar earlier instructions of what a run accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.replay import similar
from selfinstruct.replay.similar import similar_all
from tests import rouge
from tests.conftest import journal_lines, run_scripted


def test_similar_of_all_and_of_a_sample(
    make_config: Any, tmp_path: Path, seed_rows: list[dict[str, Any]], monkeypatch: Any
) -> None:
    monkeypatch.setattr(similar, "_BATCH", 7)
    run, output = tmp_path / "run", tmp_path / "similar.jsonl"
    run_scripted(make_config(num_instructions=40))
    assert similar_all(run, output) == 40
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    proposals = [line for line in journal_lines(run) if line["kind"] == "proposal"]
    accepted = [c for line in proposals for c in line.get("candidates", ()) if c["accepted"]]
    texts = [row["instruction"] for row in seed_rows]
    oracle = rouge.scorer()
    for row, candidate in zip(rows, accepted, strict=True):
        assert (row["id"], row["instruction"]) == (candidate["id"], candidate["instruction"])
        scores = [oracle.score(text, row["instruction"])["rougeL"].fmeasure for text in texts]
        assert [near["score"] for near in row["most_similar"]] == pytest.approx(sorted(scores, reverse=True)[:10])
        texts.append(row["instruction"])
    assert row["most_similar"][0].keys() == {"id", "origin", "instruction", "score"}
    assert similar_all(run, output, sample=6, top=2) == 6
    some = [json.loads(line) for line in output.read_text().splitlines()]
    full = {row["id"]: row["most_similar"][:2] for row in rows}
    assert [row["most_similar"] for row in some] == [full[row["id"]] for row in some]
    assert [row["id"] for row in some] == sorted(row["id"] for row in some)
