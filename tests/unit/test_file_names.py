"""The names of a run's files are written in `selfinstruct/run/` alone; every other module takes its paths."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.source import ROOT, files, nodes

NAMES = (
    "journal.jsonl",
    "config.yaml",
    "metrics.jsonl",
    "training.json",
    "scores.json",
    "export.json",
    "reviews.jsonl",
    "rounds.json",
    "report.html",
    "schedule.json",
    "stopped.json",
    "train.jsonl",
    "evaluation_tasks.jsonl",
    "near_evaluation.jsonl",
    "same_meaning.jsonl",
    "failed.txt",
    "libraries.log",
    ".engine.json",
)
ALLOWED = {
    ("tuning/training/arguments.py", "train.jsonl"),  # the help text of an option says what the folder holds
    ("tuning/training/findings.py", "train.jsonl"),  # a message says which file is empty
}
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in files("selfinstruct", "tuning", "tools", "benchmarks")}


def names_in(path: Path) -> set[str]:
    """Return the names of a run's files in a module's strings, docstrings left out."""
    docstrings = {id(node.value) for node in nodes(path) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    return {
        name
        for text in texts
        for name in NAMES
        if name in text and re.search(rf"(?<![\w-]){re.escape(name)}(?!\w)", text)
    }


def test_no_file_name_of_a_run_is_written_outside_its_package() -> None:
    written = {(file, name) for file, path in SOURCES.items() for name in names_in(path)}
    outside = {(file, name) for file, name in written if not file.startswith("selfinstruct/run/")}
    assert outside == ALLOWED
    assert {name for file, name in written - outside} == set(NAMES) - {"train.jsonl"}, "which is built of its split"


def test_an_output_folder_is_made_a_path_in_one_way() -> None:
    """`RunDirectory.at` refuses None; `Path(str(None))` would be a folder with that name."""
    for file, path in SOURCES.items():
        if "output_dir" not in path.read_text():
            continue
        for node in nodes(path):
            if isinstance(node, ast.Call) and "Path" in ast.dump(node.func):
                call = ast.unparse(node)
                assert not re.match(r"(\w+\.)*Path\(str\(.*output_dir", call), f"{file}:{node.lineno}: {call}"
