"""A whole hub as the composition root makes it, asked without a socket: every route there is, at a thousand a second.

    async with served_hub(tmp_path) as hub:
        answer = await hub.ask("GET", "/devices/pump-01", credential=hub.owner())

What a socket would add (h11, TLS) is in `tests/servers`. Paths, headers and bodies go in as they are, so a test can
send what no HTTP client would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from moorage.api.routing import Route
from moorage.app import App
from moorage.config import load_config
from moorage.identities.model import PolicyScope, Right
from moorage.identities.owner import OwnerKey
from moorage.identities.policies import Policies
from moorage.identities.policy_rules import PolicyDraft
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, Secret
from moorage.pki.certificates import PeerChain

__all__ = ["Answer", "Headers", "ServedHub", "served_hub"]

Headers = Sequence[tuple[bytes, bytes]]
# Nothing an operation does in an empty hub takes long; the machine may be busy.
_PATIENCE_S = 60.0
# Not of this machine, so that nothing is let through for being local.
_STRANGER = ("192.0.2.7", 40000)


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` of a stream of events is its first piece."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)

    def json(self) -> Any:
        return json.loads(self.body)


class ServedHub:
    def __init__(self, app: App) -> None:
        self.app = app
        self._owner = OwnerKey.parse((app.config.data / "owner.key").read_text())

    @property
    def routes(self) -> tuple[Route, ...]:
        return self.app.api.routes

    @property
    def host(self) -> str:
        return self.app.config.hostname

    def owner(self) -> str:
        """An Authorization header, as the others here."""
        return "Bearer " + self._owner.mint("api", timedelta(hours=1), self.app.clock.now()).reveal()

    def policy(self, scope: PolicyScope, name: str, *, resource: str | None = None, minutes: int = 60) -> str:
        key = self.app.store.read().policies.find(DEFAULT_HUB, scope, name)
        assert key is not None, name
        expires = self.app.clock.now() + timedelta(minutes=minutes)
        return make_token(resource or self.host, key.primary, expires, name).reveal()

    def signed(self, resource: str, key: str) -> str:
        """A device's own token."""
        return make_token(resource, Secret(key), self.app.clock.now() + timedelta(hours=1)).reveal()

    async def add_policy(self, scope: PolicyScope, name: str, *rights: Right) -> None:
        await Policies(self.app.store).create(DEFAULT_HUB, scope, PolicyDraft(name, frozenset(rights)))

    async def ask(
        self,
        method: str,
        target: str | bytes,
        body: bytes | Any = b"",
        *,
        credential: str | None = None,
        headers: Headers = (),
        chain: PeerChain | None = None,
        client: tuple[str, int] = _STRANGER,
    ) -> Answer:
        """`body`, unless it is bytes, is sent as JSON. A stream of events is left after its first piece."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = list(headers)
        if not any(name.lower() == b"host" for name, _ in headers):
            sent.insert(0, (b"host", self.host.encode()))
        if credential is not None:
            sent.append((b"authorization", credential.encode("latin-1", "replace")))
        path, _, query = (target.encode() if isinstance(target, str) else target).partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path.decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in sent],
            "client": client,
            "server": (self.host, 443),
            "state": {},
            "extensions": {"moorage.tls": {"peer_chain": chain, "version": "TLSv1.3"}},
        }
        return await asyncio.wait_for(self._run(scope, content), _PATIENCE_S)

    async def _run(self, scope: dict[str, Any], content: bytes) -> Answer:
        status, headers, parts = 0, [], []
        came, enough = [content], asyncio.Event()

        async def receive() -> dict[str, Any]:
            if came:
                return {"type": "http.request", "body": came.pop(), "more_body": False}
            await enough.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers.extend(message["headers"])
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body") or (b"content-type", b"text/event-stream; charset=utf-8") in headers:
                enough.set()

        answering = asyncio.ensure_future(self.app.api(scope, receive, send))  # type: ignore[arg-type]  # same shapes
        waiting = asyncio.ensure_future(enough.wait())
        try:
            await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            for task in (answering, waiting):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        assert status, "the app gave no answer"
        return Answer(status, headers, b"".join(parts))


@asynccontextmanager
async def served_hub(folder: Path, **settings: Any) -> AsyncIterator[ServedHub]:
    """A hub on `folder`, stopped well at the end. Its ports are open, on an address that nobody was told."""
    app = App(
        load_config(
            {
                "data": str(folder / "hub"),
                "mqtt_port": 0,
                "https_port": 0,
                "amqp_port": 0,
                "amqp_plain_port": 0,
                "web_port": 0,
                **settings,
            },
            {},
        )
    )
    try:
        await app.start()
        yield ServedHub(app)
    finally:
        await app.stop()
