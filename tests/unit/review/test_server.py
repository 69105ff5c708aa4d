"""The review page: the token, the policy, answers that are kept; and the page in a real browser."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.review.sample import Reading
from selfinstruct.review.server import ReviewServer
from selfinstruct.run.directory import RunDirectory
from tests.browser import CHROMIUM, SIZES, opened
from tests.conftest import Once, run_scripted
from tests.finished_run import hostile_script


@pytest.fixture
def run(make_config: Any, tmp_path: Path, once: Once) -> Path:
    once(lambda: run_scripted(make_config(), ScriptedEngine(hostile_script)))
    return tmp_path / "run"


@pytest.fixture
def server(run: Path) -> Iterator[ReviewServer]:
    with ReviewServer(Reading.of(run, 12, seed=0)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: ReviewServer, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if data is None else {"Content-Type": "application/json"}
    connection.request("GET" if data is None else "POST", path, data, kind | headers)
    reply = connection.getresponse()
    return reply.status, reply.read(), dict(reply.getheaders())


def home(server: ReviewServer) -> str:
    return urlsplit(server.address).path


def answer(row: str, **changes: Any) -> dict[str, Any]:
    return {"reviewer": "Ada", "row": row, "task": True, "input": True, "output": False} | changes


def test_nothing_is_served_without_the_token_or_under_another_host(server: ReviewServer, run: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    token = home(server).strip("/")
    assert len(token) >= 32
    row = Reading.of(run, 12, 0).rows[0].id
    for path in ("/", "/rows", "/wrong/", "/wrong/rows", f"/{token[:-1]}/rows", f"/{token}/../{token}/x", "/answers"):
        assert ask(server, path)[0] == 404
        assert ask(server, path, answer(row))[0] == 404
    assert ask(server, f"/{token}/rows", Host="evil.example")[0] == 404
    assert ask(server, f"/{token}/answers", answer(row), Host=f"evil.example:{server.server_port}")[0] == 404
    assert not RunDirectory(run).reviews_path.exists()


def test_the_page_allows_its_own_script_alone(server: ReviewServer) -> None:
    for name in ("", "page.js", "page.css", "rows?reviewer=Ada"):
        status, body, headers = ask(server, home(server) + name)
        assert status == 200 and body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"


def test_answers_are_kept_and_continued_by_person(server: ReviewServer, run: Path) -> None:
    rows = json.loads(ask(server, home(server) + "rows?reviewer=Ada")[1])["rows"]
    assert len(rows) == 12
    assert ask(server, home(server) + "answers", answer(rows[3]["id"]))[0] == 204
    assert [one.output for one in RunDirectory(run).reviews()] == [False]
    mine = json.loads(ask(server, home(server) + "rows?reviewer=Ada")[1])["answers"]
    assert mine == {rows[3]["id"]: {"task": True, "input": True, "output": False}}
    assert json.loads(ask(server, home(server) + "rows?reviewer=Bob")[1])["answers"] == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        answer("no such row"),
        answer("", reviewer=""),
        {"task": 1},
        answer("x" * 20_000),
    ],
)
def test_what_is_no_answer_is_refused(server: ReviewServer, run: Path, body: Any) -> None:
    assert ask(server, home(server) + "answers", body)[0] == 400
    assert not RunDirectory(run).reviews_path.exists()


def test_an_answer_that_a_form_of_another_page_could_send_is_refused(server: ReviewServer, run: Path) -> None:
    row = Reading.of(run, 12, 0).rows[0].id
    assert ask(server, home(server) + "answers", answer(row), **{"Content-Type": "text/plain"})[0] == 400


def test_names_must_be_short_and_printable(server: ReviewServer, run: Path) -> None:
    row = Reading.of(run, 12, 0).rows[0].id
    for name in ("", "  ", "a\nb", "x" * 61):
        assert ask(server, home(server) + "answers", answer(row, reviewer=name))[0] == 400


@pytest.mark.browser
@pytest.mark.whole
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser(server: ReviewServer, run: Path) -> None:
    """Two rows by the keyboard, one by the mouse, hostile text as text, and a second visit that continues."""
    pytest.importorskip("playwright.sync_api")
    pytest.importorskip("axe_playwright_python")
    with opened(server.address) as watched:
        page = watched.page
        assert watched.violations() == []
        page.get_by_label("Your name").fill("Grace")
        page.keyboard.press("Enter")
        page.get_by_text("Row 1 of 12").wait_for()
        for key in "yyyyny":
            page.keyboard.press(key)
        page.get_by_text("Row 3 of 12").wait_for()
        for number in range(3):
            page.locator("li").nth(number).get_by_text("no", exact=True).click()
        page.get_by_text("3 of 12 rows reviewed by Grace").wait_for()
        rows = Reading.of(run, 12, 0).rows
        place = next((k for k, row in enumerate(rows) if "<script>" in row.instruction + row.output), None)
        assert place is not None, "the sample holds hostile text"
        for _ in range(12):
            page.keyboard.press("ArrowLeft")
        for _ in range(place):
            page.keyboard.press("ArrowRight")
        page.get_by_text(f"Row {place + 1} of 12").wait_for()
        assert "<script>" in page.locator("#instruction").inner_text() + page.locator("#output").inner_text()
        assert page.locator("#reading script, #reading img").count() == 0
        for width, height in SIZES.values():
            page.set_viewport_size({"width": width, "height": height})
            assert not watched.scrolls_sideways(), width
            assert watched.violations() == [], width
        page.reload()
        page.get_by_label("Your name").fill("Grace")
        page.keyboard.press("Enter")
        page.get_by_text("Row 4 of 12").wait_for()
        assert not watched.said, watched.said
        assert all(url.startswith((server.address, "data:")) for url in watched.asked), watched.asked
    kept = {(one.row, one.task, one.input, one.output) for one in RunDirectory(run).reviews()}
    assert kept == {
        (rows[0].id, True, True, True),
        (rows[1].id, True, False, True),
        (rows[2].id, False, False, False),
    }
