"""A Hub on this machine: the answers of huggingface.co that its client asks for, from a folder of models."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """What the Hub shows, and what it was asked for.

    Attributes:
        models: folder of each model by its name.
        refused: answer (status, error code, message) to every question about a model.
        requests: method and path of each request, in order.
    """

    models: dict[str, Path] = field(default_factory=dict)
    refused: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def downloads(self) -> list[str]:
        """Return the names of the files that were fetched."""
        return [line.rpartition("/")[2] for line in self.requests if line.startswith("GET") and "/resolve/" in line]


@contextlib.contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serve a Hub; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, *_: Any) -> None: ...

        def _answer(self, with_body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path.partition('?')[0]}")
            status, headers, body = self._find(self.path.partition("?")[0].strip("/").split("/"))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def _find(self, parts: list[str]) -> tuple[int, dict[str, str], bytes]:
            api = parts[:2] == ["api", "models"]
            name, *rest = ["/".join(parts[2:4] if api else parts[:2]), *(parts[4:] if api else parts[2:])]
            if name in hub.refused:
                status, code, message = hub.refused[name]
                return status, {"X-Error-Code": code, "X-Error-Message": message}, b""
            if name not in hub.models:
                return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""
            if len(rest) > 1 and rest[1] not in ("main", SHA):
                return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev"}, b""
            files = {path.name: path.read_bytes() for path in sorted(hub.models[name].iterdir())}
            if api:
                shown = _tree(files) if rest[:1] == ["tree"] else _info(name, files)
                return 200, {"Content-Type": "application/json"}, json.dumps(shown).encode()
            if rest[2] not in files:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}, b""
            body = files[rest[2]]
            return 200, {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": SHA}, body

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """Let huggingface_hub ask this Hub, and keep its files in `cache`."""
    from huggingface_hub import constants

    from selfinstruct.engines.hub import listing
    from selfinstruct.engines.model_facts import model_facts

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    listing.cache_clear()
    model_facts.cache_clear()


def _info(name: str, files: dict[str, bytes]) -> dict[str, Any]:
    siblings = [{"rfilename": file, "size": len(body)} for file, body in files.items()]
    return {"id": name, "modelId": name, "sha": SHA, "private": False, "tags": [], "downloads": 0, "likes": 0} | {
        "siblings": siblings
    }


def _tree(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
        for name, body in files.items()
    ]
