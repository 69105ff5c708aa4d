"""Which tests `make test-unit` leaves out: those that start Python, which takes up to seconds each."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import WITH_TORCH
from tests.source import Function

UNIT = Path(__file__).parent


def starters(tree: ast.Module) -> list[Function]:
    """The functions of a module that start Python as a process, themselves or by another function of the module."""
    functions = [node for node in tree.body if isinstance(node, Function)]
    starting = {f.name for f in functions if {"executable", "subprocess"} <= names(f)}
    while True:
        more = {f.name for f in functions if starting & names(f)} - starting
        if not more:
            return [f for f in functions if f.name in starting]
        starting |= more


def names(function: Function) -> set[str]:
    nodes = [*ast.walk(function)]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in nodes if isinstance(node, ast.Name)} | {a.arg for a in function.args.args}


def test_a_test_that_starts_python_is_no_unit_test() -> None:
    """Some are cheap for what they show, but all of them together are not."""
    unmarked = []
    for path in UNIT.rglob("test_*.py"):
        text = path.read_text()
        if "executable" not in text or "subprocess" not in text:
            continue
        tree = ast.parse(text)
        of_all = [ast.unparse(n) for n in tree.body if isinstance(n, ast.Assign) and "pytestmark" in ast.unparse(n)]
        for function in starters(tree):
            marks = [*of_all, *map(ast.unparse, function.decorator_list)]
            if function.name.startswith("test_") and not any("mark.whole" in mark for mark in marks):
                unmarked.append(f"{path.relative_to(UNIT)}:{function.lineno} {function.name}")
    assert not unmarked


def test_the_files_that_one_process_runs_are_there() -> None:
    assert [name for name in WITH_TORCH if not [*UNIT.glob(f"{name}*")]] == []
