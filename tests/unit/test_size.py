"""Files and functions stay short enough to be read in one go."""

from __future__ import annotations

import ast

from tests.source import ROOT, files, nodes

LONGEST_FUNCTION = 61
LONGEST_FILE = 500
LONG_FILES = {"selfinstruct/novelty/kernels.py"}  # one compiled loop in several variants
SOURCES = files("selfinstruct", "tuning")


def test_no_function_is_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines"
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long


def test_no_file_is_long() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in SOURCES}
    assert not {name: n for name, n in lengths.items() if n > LONGEST_FILE and name not in LONG_FILES}
