"""A web hook on this machine that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.sdk import until

__all__ = ["Hook", "web_hook"]


class Hook:
    """`bodies` are the JSON documents, in the order in which they came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[Any] = []

    def wait(self, about: str) -> Any:
        """The first that mentions this text."""
        until(f"the web hook hears of {about}", lambda: self._find(about) is not None)
        return self._find(about)

    def _find(self, about: str) -> Any:
        return next((body for body in list(self.bodies) if about in json.dumps(body)), None)


@contextmanager
def web_hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            text = body.decode()
            # An export sends a JSON array, or an object a line.
            documents = [json.loads(line) for line in text.splitlines()] if "}\n{" in text else [json.loads(text)]
            hook.bodies += documents
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: what it was sent is kept."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Hook(f"http://127.0.0.1:{server.server_port}/hook")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()
