"""What the documents claim is so: commands parse, paths exist."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from selfinstruct.cli import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "guide").glob("*.md")))


def _commands(text: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("selfinstruct ")]


def _examples() -> list[str]:
    """The commands in every help text."""

    def walk(command: click.Command) -> list[str]:
        found = re.findall(r"^ +(selfinstruct .*)$", command.help or "", re.M)
        if isinstance(command, click.Group):
            found += [line for child in command.commands.values() for line in walk(child)]
        return [line.partition("#")[0].strip() for line in found]

    return walk(cli)


def parse(line: str) -> click.Command:
    """Walk the groups and parse the options without checking or calling anything; unknown ones raise."""
    words = shlex.split(line.partition(" | ")[0])[1:]  # What it is piped into is not ours.
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    settings = cli.context_settings | command.context_settings  # Click remembers the names of a command's help option.
    command.make_parser(click.Context(command, **settings)).parse_args(words)
    return command


@pytest.mark.parametrize("line", sorted({*_commands(README), *_commands(GUIDE), *_examples()}))
def test_commands_in_readme_guide_and_help_parse(line: str) -> None:
    assert parse(line).callback is not None


def test_benchmarks_in_the_guide_parse() -> None:
    lines = re.findall(r"^python benchmarks/(\w+)\.py (.*)$", GUIDE, re.M)
    assert lines
    for name, words in lines:
        main = importlib.import_module(f"benchmarks.{name}").main
        main.make_parser(click.Context(main)).parse_args(shlex.split(words))


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        parse("selfinstruct status RUN --jsno")


def test_every_command_has_help_with_an_example() -> None:
    def leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            return [leaf for name, child in command.commands.items() for leaf in leaves(child, f"{path} {name}")]
        return [(path, command)]

    for path, command in leaves(cli, "selfinstruct"):
        assert f"{path}" in (command.help or ""), f"{path} has no example in its help"


def test_readme_is_short_and_its_files_exist() -> None:
    assert len(README.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", README):
        name = target[0] or target[1]
        assert name.startswith("http") or (ROOT / name).exists(), f"README links to {name}"
    assert (ROOT / "docs" / "images" / "report.png").stat().st_size < 300_000


def test_every_command_is_shown_in_readme_or_guide() -> None:
    shown = {tuple(line.split()[1:2]) for line in [*_commands(README), *_commands(GUIDE)]}
    missing = cli.commands.keys() - {name for (name,) in shown} - {"demo"}
    assert not missing, f"neither README nor guide shows {missing}"


def test_the_reference_names_every_command_and_option() -> None:
    from selfinstruct.config.click_options import all_fields, is_section
    from tools.docs_reference import commands_page, configuration_page, leaves

    commands, configuration = commands_page(), configuration_page()
    assert re.findall(r"^## (.*)$", commands, re.M) == [
        path.partition(" ")[2] for path, _ in leaves(cli, "selfinstruct")
    ]
    for name, info in all_fields():
        if not is_section(info):
            assert f"| `{name.rpartition('.')[2]}` |" in configuration, name


def test_the_reference_of_formats_shows_a_record_of_every_family() -> None:
    from selfinstruct.formats.families import FAMILIES
    from tools.docs_reference import formats_page

    page = formats_page()
    assert all(f"| `{family.name}` |" in page for family in FAMILIES)
    sections = page.split("\n## ")[1:]
    assert sections[0].startswith("Exported rows\n") and all("\n    " in section for section in sections)
    assert len(sections) == 8


@pytest.mark.whole
def test_the_documentation_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "near_duplicate" in (tmp_path / "guide" / "after" / "index.html").read_text()
    assert "proposers" in (tmp_path / "reference" / "configuration" / "index.html").read_text()
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)', (tmp_path / "index.html").read_text())
    assert not loaded, "the pages load nothing from another host"


SHOWN = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in re.sub(r"\\\n\s*", "", block).splitlines()
]
"""README's command lines; those of `selfinstruct` are run in `test_documented_commands.py`."""


@pytest.mark.parametrize("command", sorted({line for line in SHOWN if line.startswith("make ")}))
def test_make_knows_what_readme_gives_it(command: str) -> None:
    """CI gives the real ones: `.ci/run`."""
    done = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted({line for line in SHOWN if line.startswith("pip ")}))
def test_what_readme_gives_pip_is_there(command: str) -> None:
    """`make resolve`, in CI, lets pip find versions for both extras."""
    extras = re.findall(r"\.\[(\w+)\]", command)
    files = re.findall(r"-r (\S+)", command)
    assert extras or files
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert all(name in declared for name in extras) and all((ROOT / name).is_file() for name in files)
    resolve = (ROOT / "requirements" / "resolve.sh").read_text()
    assert all(name in resolve for name in extras)


def test_readme_shows_no_other_kinds_of_commands() -> None:
    assert {line.split()[0] for line in SHOWN if line and not line.startswith("#")} == {"make", "pip", "selfinstruct"}


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_paths_in_the_architecture_page_exist() -> None:
    named = re.findall(r"`((?:selfinstruct|tuning|tests|tools|docs)/[\w./-]*)`", ARCHITECTURE)
    assert len(named) > 40, "the page names its paths in backquotes"
    missing = [path for path in named if "NAME" not in path and not (ROOT / path).exists()]
    assert not missing, f"docs/architecture.md names {missing}, which do not exist"


def test_types_in_the_architecture_page_exist() -> None:
    way = ARCHITECTURE.split("## The way of one instruction")[1].split("## To add")[0]
    sources = "\n".join(
        path.read_text() for package in ("selfinstruct", "tuning") for path in (ROOT / package).rglob("*.py")
    )
    for name in re.findall(r"`([A-Z]\w+)`", way):
        assert re.search(rf"^class {name}\b", sources, re.M), f"docs/architecture.md names the type {name}"


def test_the_architecture_page_says_in_which_file_a_name_is_defined() -> None:
    file = r"(?:in|of|to a file of)\s+`((?:selfinstruct|tuning)/[\w/]+\.py)`"
    named = re.findall(r"`([A-Za-z_]+)`(?: and `([A-Za-z_]+)`)?,?\s+" + file, ARCHITECTURE)
    assert len(named) > 10
    for *names, path in named:
        source = (ROOT / path).read_text()
        for name in filter(None, {*names} - {"off"}):  # A value.
            definition = rf"^(class {name}\b|def {name}\(|{name}\b.* = )"
            assert re.search(definition, source, re.M), f"docs/architecture.md: {name} is not defined in {path}"


def test_every_folder_is_in_the_architecture_page() -> None:
    for package in ("selfinstruct", "tuning"):
        for init in (ROOT / package).glob("*/__init__.py"):
            folder = init.parent.relative_to(ROOT).as_posix()
            assert f"`{folder}/`" in ARCHITECTURE or folder.endswith("/demo"), f"{folder} is missing on the page"


def test_tests_named_in_reliability_exist() -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = re.findall(r"`([\w/]*test_\w+\.py)`", (ROOT / "docs" / "reliability.md").read_text())
    assert named
    for name in named:
        assert (ROOT / name).exists() if "/" in name else name in there, f"docs/reliability.md names {name}"
