"""The source code, read once by all tests of a process that look at it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from selfinstruct.gc_paused import gc_paused

ROOT = Path(__file__).parents[1]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files(*packages: str) -> tuple[Path, ...]:
    """The Python files of packages."""
    return tuple(path for package in packages for path in sorted((ROOT / package).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    """A file, parsed."""
    with gc_paused():
        return ast.parse(path.read_bytes())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file."""
    with gc_paused():
        return tuple(ast.walk(tree(path)))
