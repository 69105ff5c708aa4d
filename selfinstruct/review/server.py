"""The server of the review page, on the loopback interface alone.

Every address begins with a random token, so neither other users of the machine nor other pages in the same browser can
read or answer anything. The page loads nothing from elsewhere, and its policy allows only its own script.
"""

from __future__ import annotations

import functools
import json
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from selfinstruct.errors import InputError, SelfInstructError
from selfinstruct.review.sample import Reading
from selfinstruct.run.reviews import QUESTIONS, read_reviews
from selfinstruct.text import legible

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_LARGEST_BODY = 10_000
"""Bytes of an answer; a longer one is refused."""


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    reviewer: str
    row: str
    task: bool
    input: bool
    output: bool


class ReviewServer(ThreadingHTTPServer):
    """Serves the page until `shutdown` is called.

    Attributes:
        address: the address to open, with the token.
    """

    daemon_threads = True

    def __init__(self, reading: Reading, port: int = 0) -> None:
        token = secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), functools.partial(_Handler, reading, token))
        self.address = f"http://127.0.0.1:{self.server_port}/{token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a browser that went away; say what else went wrong."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version = "selfinstruct"
    sys_version = ""
    timeout = 30

    def __init__(self, reading: Reading, token: str, *connection: Any) -> None:
        self._reading, self._token = reading, token
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Send the page, its script and style, or the rows with a person's answers."""
        name = self._name()
        if name == "rows":
            self._send_rows()
        elif name in _FILES:
            file, kind = _FILES[name]
            self._send(HTTPStatus.OK, resources.files("selfinstruct.review").joinpath(file).read_bytes(), kind)
        else:
            self._send(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Keep an answer."""
        size = self.headers.get("Content-Length", "")
        is_json = self.headers.get_content_type() == "application/json"  # What no form of another page can send.
        if self._name() != "answers":
            self._send(HTTPStatus.NOT_FOUND)
        elif not is_json or not size.isdecimal() or int(size) > _LARGEST_BODY:
            self._send(HTTPStatus.BAD_REQUEST, b"an answer is a short JSON object")
        else:
            self._keep(self.rfile.read(int(size)))

    def _keep(self, body: bytes) -> None:
        try:
            one = msgspec.json.decode(body, type=_Answer)
            self._reading.add(one.reviewer, one.row, task=one.task, input_fits=one.input, output=one.output)
        except (msgspec.DecodeError, InputError) as error:
            self._send(HTTPStatus.BAD_REQUEST, str(error).encode())
        except SelfInstructError as error:
            self._send(HTTPStatus.INSUFFICIENT_STORAGE, str(error).encode())
        else:
            self._send(HTTPStatus.NO_CONTENT)

    def _send_rows(self) -> None:
        reviewer = parse_qs(urlsplit(self.path).query).get("reviewer", [""])[0].strip()
        answered = self._reading.answered(read_reviews(self._reading.path), reviewer)
        rows = [
            {name: legible(getattr(row, name)) for name in ("id", "instruction", "input", "output")}
            for row in self._reading.rows
        ]
        answers = {row: {name: getattr(one, name) for name in QUESTIONS} for row, one in answered.items()}
        content = {"rows": rows, "answers": answers, "questions": QUESTIONS}
        self._send(HTTPStatus.OK, json.dumps(content).encode(), "application/json")

    def _name(self) -> str | None:
        """Return what is asked for; None without the token, or under a host name that is not ours (DNS rebinding)."""
        _, token, name, *more = [*urlsplit(self.path).path.split("/"), "", ""]
        hosts = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
        is_ours = secrets.compare_digest(token.encode("utf-8", "replace"), self._token.encode())
        return name if is_ours and self.headers.get("Host") in hosts and not any(more) else None

    def _send(self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        for name, value in (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")):
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is the base class's
        """Write no log: requests hold the token."""
