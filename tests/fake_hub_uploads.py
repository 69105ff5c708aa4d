"""A Hub on this machine that takes uploads: the calls of huggingface_hub's create_repo and upload_folder.

The protocol is that of Git LFS for large files (huggingface_hub without hf_xet), and NDJSON commits for small ones.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """A repository: whether it is private, and its files; those of LFS by the hash of their content."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class FakeHub:
    """What was uploaded.

    Attributes:
        repositories: by "datasets/OWNER/NAME" or "models/OWNER/NAME".
        large: content of large files by SHA-256; kept also where no commit followed.
        received: SHA-256 of each upload of a large file, in order.
        tokens: what the requests showed.
        breaks_after: number of uploads of large files after which the connection is cut; None: never.
        refuses: answer (status, message) to every request that makes a repository.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    breaks_after: int | None = None
    refuses: tuple[int, str] | None = None


@contextlib.contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serve a Hub; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            if found := re.fullmatch(r"/api/(datasets|models)/([^/]+/[^/]+)(?:/revision/main)?", self._path()):
                repository = hub.repositories.get(f"{found[1]}/{found[2]}")
                if repository is None:
                    return self._say({"error": "Repository not found"}, 404)
                return self._say({"id": found[2], "private": repository.private, "sha": _SHA, "siblings": []})
            return self._say({"error": self.path}, 404)

        def do_POST(self) -> None:
            body, path = self._body(), self._path()
            hub.tokens.add(self.headers.get("Authorization"))
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            if path == "/api/validate-yaml":
                return self._say({"errors": [], "warnings": []})
            if path.endswith(".git/info/lfs/objects/batch"):
                return self._batch(json.loads(body))
            found = re.fullmatch(r"/api/(datasets|models)/([^/]+/[^/]+)/(preupload|commit)/main", path)
            if found is None:
                return self._say({"error": path}, 404)
            if found[3] == "preupload":
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                return self._say({"files": files})
            return self._commit(found[1], found[2], body)

        def do_PUT(self) -> None:
            content = self._body()
            if hub.breaks_after is not None and len(hub.received) >= hub.breaks_after:
                return self._say({"error": "maintenance"}, 404)
            digest = hashlib.sha256(content).hexdigest()
            assert self._path() == f"/store/{digest}", "the content is that of its name"
            hub.large[digest] = content
            hub.received.append(digest)
            return self._say({})

        def _create(self, asked: dict[str, Any]) -> None:
            if hub.refuses:
                return self._say({"error": hub.refuses[1]}, hub.refuses[0])
            kind = f"{asked.get('type') or 'model'}s"
            name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
            private = asked.get("visibility") == "private" or asked.get("private") is True
            there = f"{kind}/{name}" in hub.repositories
            hub.repositories.setdefault(f"{kind}/{name}", Repository(private))
            return self._say({"url": self._address(kind, name), "name": name, "error": "exists"}, 409 if there else 200)

        def _batch(self, asked: dict[str, Any]) -> None:
            objects = [
                {"oid": one["oid"], "size": one["size"]}
                if one["oid"] in hub.large
                else {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"http://{self.headers['Host']}/store/{one['oid']}", "header": {}}},
                }
                for one in asked["objects"]
            ]
            return self._say({"transfer": "basic", "objects": objects})

        def _commit(self, kind: str, name: str, body: bytes) -> None:
            repository = hub.repositories[f"{kind}/{name}"]
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    repository.files[value["path"]] = hub.large[value["oid"]]
            address = f"{self._address(kind, name)}/commit/{_SHA}"
            return self._say({"success": True, "commitUrl": address, "commitOid": _SHA})

        def _address(self, kind: str, name: str) -> str:
            prefix = "datasets/" if kind == "datasets" else ""
            return f"http://{self.headers['Host']}/{prefix}{name}"

        def _path(self) -> str:
            return self.path.partition("?")[0]

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _say(self, value: Any, status: int = 200) -> None:
            answer = json.dumps(value).encode()
            self.send_response(status)
            if status >= 400:
                self.send_header("X-Error-Message", str(value.get("error")))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
