"""The report in a real browser: on a desktop and a phone, by day and night, with hostile text in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.formats import jsonl
from selfinstruct.report.page import write_report
from tests import finished_run
from tests.browser import CHROMIUM, opened

pytestmark = [
    pytest.mark.browser,
    pytest.mark.whole,
    pytest.mark.figures,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


_CUT_TABLES = """[...document.querySelectorAll('#done .scroll, #funnel .scroll, #variety .scroll')]
    .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.innerText.slice(0, 80))"""


@pytest.fixture
def report(make_config: Any) -> Path:
    run = finished_run.complete(make_config(model="demo"), hostile=True)
    read = {"proposal": 9, "classification": 9, "instances": 9}
    jsonl.write(run / "metrics.jsonl", [{"time": 1_790_000_000, "elapsed_s": 3600, "read": read, "cached": read}])
    return write_report(run)


def test_report(report: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    pytest.importorskip("axe_playwright_python")
    for size, scheme in (("desktop", "light"), ("phone", "dark")):
        with opened(report.as_uri(), size, scheme) as watched:
            page = watched.page
            if size == "desktop":
                assert page.evaluate(_CUT_TABLES) == [], "a column is out of sight"
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert not watched.scrolls_sideways(), size
            assert watched.violations() == [], (size, scheme)
            assert page.locator("main script, main img, main iframe").count() == 0
            assert page.get_by_text("<script>").count() > 0, "hostile text shows as text"
            assert page.locator("a[href^='javascript:']").count() == 0
            assert watched.said == [] and watched.asked == [report.as_uri()], (watched.said, watched.asked)
