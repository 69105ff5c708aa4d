"""Pages in a real browser: what it complains about, what it asks for, and what axe-core says about their access."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
_PATIENCE_MS = 180_000
"""A busy machine may take long to start a browser."""


@dataclass
class Watched:
    """A page, with what the browser said on its console and every address that it asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """Return what axe-core calls serious or critical, with the elements; it is run from outside the page."""
        import axe_playwright_python

        script = Path(axe_playwright_python.__file__).parent / "axe.min.js"
        self.page.evaluate(script.read_text(encoding="utf-8") + "\n;0")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            f"{one['id']}: {node['target']} {node['html'][:120]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def scrolls_sideways(self) -> bool:
        """Return whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@contextmanager
def opened(address: str, size: str = "desktop", scheme: str = "light") -> Iterator[Watched]:
    """Open a page.

    Args:
        address: of the page.
        size: of the window, by its name in `SIZES`.
        scheme: `light` or `dark`.
    """
    from playwright.sync_api import sync_playwright

    width, height = SIZES[size]
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=_PATIENCE_MS)
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.set_default_timeout(_PATIENCE_MS)
        watched = Watched(page)
        page.on("console", lambda message: watched.said.append(message.text))
        page.on("pageerror", lambda error: watched.said.append(str(error)))
        page.on("request", lambda request: watched.asked.append(request.url))
        page.goto(address)
        yield watched
        browser.close()
