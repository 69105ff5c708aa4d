"""Names and docstrings of the code: what can be counted of what docs/architecture.md and the reviewers ask for."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lemminflect import getAllLemmas

from tests.source import ROOT, Function, files, nodes, tree

SOURCES = {str(path.relative_to(ROOT)): path for path in files("selfinstruct", "tuning")}
WRITTEN_HERE = SOURCES | {str(path.relative_to(ROOT)): path for path in files("tools", "benchmarks")}
"""The modules of the program, its tools and its benchmarks."""
EMPTY_NAMES = {"found", "given", "place"}


def functions(path: Path) -> Iterator[Function]:
    return (node for node in nodes(path) if isinstance(node, Function))


def parameters(function: Function) -> list[ast.arg]:
    arguments = function.args
    both = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    both += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [one for one in both if one.arg not in ("self", "cls")]


def test_local_variables_are_called_what_they_hold() -> None:
    """A `Place` may be called so: it is the place of an answer in a run. Fields of a class have stored names."""
    empty = [
        f"{name}:{node.lineno} {local}"
        for name, path in WRITTEN_HERE.items()
        for node, local in _locals(path)
        if local in EMPTY_NAMES
        if local != "place" or "Place" not in ast.unparse(tree(path))
    ]
    assert not empty


def _locals(path: Path) -> Iterator[tuple[ast.Name | ast.arg, str]]:
    """Yield parameters, those of lambdas included, and the names that are bound inside of functions."""
    for node in nodes(path):
        if isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, Function):
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            yield from ((n, n.id) for n in stored)


def test_docstrings_of_functions_begin_with_a_verb_in_the_imperative() -> None:
    """A property is described as an attribute is: by what it holds."""
    others = [
        f"{name}:{function.lineno} {function.name}: {first}"
        for name, path in WRITTEN_HERE.items()
        for function in functions(path)
        if (docstring := ast.get_docstring(function))
        if not any("property" in ast.unparse(decorator) for decorator in function.decorator_list)
        if not _is_imperative(first := docstring.split()[0].rstrip(".,:;"))
    ]
    assert not others


@functools.cache
def _is_imperative(word: str) -> bool:
    """Return whether a word is the base form of a verb; a few are in no dictionary."""
    base = word.lower()
    return base in {"fsync", "prefetch"} or base in getAllLemmas(base, upos="VERB").get("VERB", ())


def test_public_functions_with_three_parameters_say_what_each_is() -> None:
    """Commands show theirs as help, callbacks have transformers' parameters, and kernels describe their arrays."""
    silent = [
        f"{name}:{function.lineno} {function.name}"
        for name, path in SOURCES.items()
        if name != "selfinstruct/novelty/kernels.py"
        for function in _public(tree(path))
        if len(parameters(function)) >= 3 and "Args:" not in (ast.get_docstring(function) or "")
        if not any("command" in ast.unparse(decorator) for decorator in function.decorator_list)
        if not (name == "tuning/training/callbacks.py" and function.name.startswith("on_"))
    ]
    assert not silent


def _public(parent: ast.AST) -> Iterator[Function]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef | Function) and node.name.startswith("_"):
            continue
        if isinstance(node, Function):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from _public(node)


def test_few_functions_take_the_whole_configuration() -> None:
    """Others take the section that they need, or the options of generation (`GenerationConfig`)."""
    whole = [
        f"{name}:{function.lineno} {function.name}"
        for name, path in SOURCES.items()
        for function in functions(path)
        if any(
            isinstance(node, ast.Name) and node.id == "Config"
            for one in parameters(function)
            if one.annotation is not None
            for node in ast.walk(one.annotation)
        )
    ]
    assert len(whole) < 30, whole
    assert len([one for one in whole if not one.startswith(("selfinstruct/chain/", "selfinstruct/cli/"))]) <= 8, whole


SAME_IN_BOTH = {
    "__init__": "every package has one",
    "consistency": "how far answers agree: to choose among samples, and to measure a model",
    "interface": "what all proposers, or all scorers, have in common",
    "judge": "a model that judges answers: to choose among them, and to compare models",
    "keywords": "words of a text: demanded by a constraint, refused by a filter",
    "language": "the same of its language",
    "length": "the same of its length",
}
"""Names of several modules, and what the name means in all of them."""


def test_a_module_s_name_has_one_meaning() -> None:
    count = Counter(path.stem for path in SOURCES.values())
    assert {name for name, times in count.items() if times > 1} == SAME_IN_BOTH.keys()


def test_tests_import_no_private_name() -> None:
    """What tests call is public, or is tested through its caller."""
    private = [
        f"{path.relative_to(ROOT)}:{node.lineno} {alias.name}"
        for path in files("tests")
        if re.search(r"^ *from (?:selfinstruct|tuning)\S* import (?:\([^)]*|.*)\b_", path.read_text(), re.M)
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("selfinstruct", "tuning"))
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert not private
