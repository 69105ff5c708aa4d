"""The promise about interrupted runs, as an assertion."""

from __future__ import annotations

import json
from pathlib import Path

from selfinstruct.chain import chain
from selfinstruct.config.schema import Config
from tests.conftest import journal_lines


def exported(config: Config) -> dict[str, bytes]:
    """Export, and return the bytes of every file in `dataset/`, by name."""
    chain.export(config)
    folder = Path(str(config.output_dir)) / "dataset"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_same(interrupted: Config, whole: Config) -> None:
    """Assert: same proposals in the same order, same set of lines except those about signals, identical exports."""
    ours, theirs = (journal_lines(Path(str(config.output_dir))) for config in (interrupted, whole))
    ours = [line for line in ours if line.get("event") != "interrupted"]
    assert ours[0] == theirs[0]
    assert [x for x in ours if x["kind"] == "proposal"] == [x for x in theirs if x["kind"] == "proposal"]
    assert sorted(map(json.dumps, ours)) == sorted(map(json.dumps, theirs))
    assert exported(interrupted) == exported(whole)
