"""The console obeys no text: markup and control characters are shown."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from selfinstruct import console as consoles
from selfinstruct.console import AnswerProgress, PlainConsole, closing_table, figures, reading, stage

HOSTILE = "model[/b][v1] :smile: \x1b[31m\x07"
SHOWN = "model[/b][v1] :smile: \\x1b[31m\\x07"


@pytest.fixture(params=[False, True], ids=["file", "terminal"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    plain = PlainConsole(file=stream, soft_wrap=True, force_terminal=request.param, no_color=True, width=200)
    monkeypatch.setattr(consoles, "console", plain)
    return stream


def test_text_is_shown_as_it_is(written: io.StringIO) -> None:
    stage(HOSTILE)
    closing_table(HOSTILE, [("name", HOSTILE)], HOSTILE)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    consoles.console.print(table)
    assert written.getvalue().count(SHOWN) == 7
    assert "\x1b[31m" not in written.getvalue() and "\x07" not in written.getvalue()


def test_progress_shows_names_as_they_are(written: io.StringIO) -> None:
    with AnswerProgress(HOSTILE.partition(" ")[0], 1) as progress:
        progress.advance(1)
    with reading(interval=0) as show:
        show(HOSTILE)
    assert "model[/b][v1]" in written.getvalue() and "\x1b[31m" not in written.getvalue()


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_cuts_neither_path_nor_figure(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(consoles, "console", PlainConsole(file=stream, soft_wrap=True, width=width))
    path = "/data/" + "a-long-name/" * 12 + "report.html"
    closing_table("written", [("rows", 12), ("report", path)], "selfinstruct show")
    assert stream.getvalue().splitlines() == ["written", "rows    12", f"report  {path}", "next: selfinstruct show"]
    table = figures("", ["arm", *(f"measure_{k}" for k in range(7))])
    table.add_row("tuned", *["33.3[11.8,56.3]"] * 7)
    consoles.console.print(table)
    assert "…" not in stream.getvalue()


def test_no_color_leaves_no_style(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, styled in (("1", False), ("", True)):
        monkeypatch.setenv("NO_COLOR", value)
        stream = io.StringIO()
        PlainConsole(file=stream, force_terminal=True, _environ={"TERM": "xterm"}).print("tune", style="bold red")
        assert ("\x1b[" in stream.getvalue()) is styled
