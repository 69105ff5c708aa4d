"""Journals tampered with in many ways: each command says what is damaged, and `repair` leaves what every one reads."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selfinstruct.cli import cli
from selfinstruct.config.earlier_defaults import EARLIER_DEFAULTS

# As in `test_repair.py` and `test_refilter.py`, every command reads whole journals, again and again.
pytestmark = pytest.mark.whole
FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_before_layout"
VALUES = ["7", 7, True, {}, 1.5, -5, [[[{}]]], None, 10**30, []]
"""What a value is replaced by."""


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys and positions that lead to each value inside a JSON value."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for name, inner in below for place in [(*above, name), *places(inner, (*above, name))]]


def changed(draw: random.Random, line: bytes, *, remove: bool) -> bytes:
    """The line with one value replaced or removed."""
    values = json.loads(line)
    *above, last = draw.choice(places(values))
    inner = values
    for name in above:
        inner = inner[name]
    if remove:
        del inner[last]
    else:
        inner[last] = draw.choice(VALUES)
    return json.dumps(values).encode() + b"\n"


def tampered(draw: random.Random, lines: list[bytes]) -> list[bytes]:
    """The lines of a journal with one of them damaged, moved, repeated or of another run."""
    k, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    line = lines[k]
    replaced = {
        "value": lambda: changed(draw, line, remove=False),
        "missing": lambda: changed(draw, line, remove=True),
        "id": lambda: re.sub(rb'"id":"p0', b'"id":"p9', line, count=1),
        "utf-16": lambda: line.decode().encode("utf-16"),
        "zeros": lambda: line[:5] + b"\0" * 8 + line[13:],
        "garbage": lambda: bytes(draw.randrange(256) for _ in range(20)) + b"\n",
        "cut": lambda: line[: len(line) // 2] + b"\n",
        "other": lambda: lines[j],
    }
    kind = draw.choice([*replaced, "value", "twice", "gone", "torn", "empty"])
    if kind == "twice":
        return [*lines[: j + 1], line, *lines[j + 1 :]]
    if kind == "gone":
        return lines[:k] + lines[k + 1 :]
    if kind == "torn":
        return [*lines[:k], line[: len(line) // 2]]
    return [] if kind == "empty" else [*lines[:k], replaced[kind](), *lines[k + 1 :]]


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 4), result.output
    assert "not expected" not in result.output and "Traceback" not in result.output
    return result


def copied(name: str, folder: Path) -> Path:
    """Return a copy of a run of the fixture in the folder."""
    run = Path(shutil.copytree(FIXTURE / name, folder / "run"))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("@FIXTURE@", str(FIXTURE)))
    return run


@pytest.mark.parametrize("seed", [*range(12), 37, 174])
def test_damage_is_named_and_repair_leaves_what_every_command_reads(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    name = ("generated", "regenerated")[seed % 2]
    run, new = copied(name, tmp_path), tmp_path / "new"
    journal = run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(tampered(draw, lines)))

    def commands() -> list[Result]:
        shutil.rmtree(new, ignore_errors=True)
        asked = [("explain", run, "Name a thing."), ("refilter", run, "-o", new), ("export", run), ("report", run)]
        return [invoke(*command) for command in [("status", run), *asked]]

    refused = [result.output for result in commands() if "selfinstruct repair" in result.output]
    assert all(re.search(r"line \d+ \(byte \d+\): ", output) for output in refused)
    if invoke("repair", run).exit_code == 0:
        for result in commands():
            assert "selfinstruct repair" not in result.output


HOSTILE = "[/red] \x1b[2J \ud800 \x00"
"""Markup of the library that prints, an order to a terminal, what UTF-8 cannot hold."""


@pytest.mark.parametrize("name", ["generated", "regenerated"])
def test_hostile_text_in_any_field_is_text_or_damage(tmp_path: Path, name: str) -> None:
    run, new = copied(name, tmp_path), tmp_path / "new"
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_bytes().splitlines()]
    lines = [{"proposer": "list", **line} if line["kind"] == "proposal" else line for line in lines]
    first = {
        (line["kind"], line.get("event"), "failed" in line): number for number, line in reversed([*enumerate(lines)])
    }
    for number in first.values():
        for *above, last in places(lines[number]):
            line = json.loads(json.dumps(lines[number]))
            inner = line
            for key in above:
                inner = inner[key]
            if not isinstance(inner[last], str):
                continue
            inner[last] = HOSTILE
            written = [*lines[:number], line, *lines[number + 1 :]]
            (run / "journal.jsonl").write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in written))
            asked = [
                ("explain", run, "Name a thing."),
                ("export", run),
                ("show", run),
                ("show", run, "--rejected", "any"),
            ]
            for command in [("status", run), *asked, ("refilter", run, "-o", new)]:
                assert "\x1b" not in invoke(*command).output, (command, above, last)
            shutil.rmtree(new, ignore_errors=True)


@pytest.mark.parametrize("section", sorted({name.rpartition(".")[0] for name in EARLIER_DEFAULTS} - {""}))
def test_a_section_of_the_header_that_is_none_is_damage(tmp_path: Path, section: str) -> None:
    run = copied("generated", tmp_path)
    header, *others = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    values = json.loads(header)
    values["identity"][section] = 1.5
    (run / "journal.jsonl").write_bytes(b"".join([json.dumps(values).encode() + b"\n", *others]))
    for command in [("status", run), ("export", run), ("explain", run, "Name a thing.")]:
        assert f"line 1 (byte 0): damaged: Expected `object`, got `float` - at `$.{section}`" in invoke(*command).output
