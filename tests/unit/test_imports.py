"""An import inside a function is there because the module is heavy, never to hide a circle."""

from __future__ import annotations

import ast
import sys
from collections.abc import Container, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.source import nodes
from tests.unit.test_names import SOURCES, functions

PROGRAMS = ("selfinstruct/cli/", "tuning/sft.py", "tuning/evaluate.py")
"""They load what a command needs when it is called: `--help` is instant, and the environment is set before."""
HEAVY = {
    "selfinstruct.console": "rich; some modules are read before it is certain that anything is shown",
    "selfinstruct.novelty.compiled": "numba",
    "tuning.evaluation.evaluation": "rouge_score, numpy",
    "tuning.evaluation.score_tables": "rich",
    "tuning.training.model_card": "huggingface_hub",
    "tuning.training.argument_parser": "transformers",
    "tuning.training.callbacks": "transformers",
}
STANDARD_LIBRARY = {"asyncio": "heavy for --help", "readline": "changes `input`", "webbrowser": "rarely needed"}


def module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports_in_functions() -> Iterator[tuple[str, str]]:
    for name, path in SOURCES.items():
        for function in functions(path):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from ((name, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield name, node.module or ""
                    yield from ((name, f"{node.module}.{alias.name}") for alias in node.names)


def test_only_what_is_heavy_is_imported_inside_functions() -> None:
    modules = {module(name) for name in SOURCES}
    packages = {name.rpartition(".")[0] for name in modules}
    light = {
        (file, name)
        for file, name in imports_in_functions()
        if (
            (name in modules - packages - HEAVY.keys() and not file.startswith(PROGRAMS))
            or name in sys.stdlib_module_names - STANDARD_LIBRARY.keys()
        )
    }
    assert not light


def test_no_modules_import_each_other() -> None:
    """Not even for their types; `make lint` checks the layers."""
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for name, path in SOURCES.items()
    }
    graph = {name: imported(path, modules) - {name} for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # Raises, and names the modules.


def imported(path: Path, modules: Container[str]) -> set[str]:
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if name in modules else node.module or "" for name in whole}
    return {name for name in names if name in modules}
