"""A served hub and the callers of its Central API.

async with central_hub(tmp_path) as central:
    answer = await central.get("/devices")  # as the owner
    answer = await central.get("/devices", who=await central.token("operator"))
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from moorage.accounts.model import OWNER, OrganizationId
from moorage.accounts.token_model import TokenId
from moorage.application import Application
from tests.api.served import Answer, Headers, ServedHub, served_hub

__all__ = ["STABLE", "Central", "central_hub"]

STABLE = "2022-07-31"


class Central:
    """Calls are the owner's unless `who` is the text of a token, and of the stable version."""

    def __init__(self, hub: ServedHub) -> None:
        self.hub = hub
        self._tokens = 0

    @property
    def application(self) -> Application:
        return self.hub.app.application

    async def token(self, role: str, organization: str = "") -> str:
        """A new API token's text."""
        self._tokens += 1
        _, text = await self.application.tokens.create(
            OWNER, TokenId(f"{role}-{self._tokens}"), role, OrganizationId(organization)
        )
        return text.reveal()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        who: str | None = None,
        version: str = STABLE,
        headers: Headers = (),
    ) -> Answer:
        target = self.target(path, version)
        return await self.hub.ask(method, target, body, credential=who or self.hub.owner(), headers=headers)

    def target(self, path: str, version: str) -> str:
        return f"/api{path}{'&' if '?' in path else '?'}api-version={version}"

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.call("GET", path, **more)

    async def put(self, path: str, body: Any, **more: Any) -> Answer:
        return await self.call("PUT", path, body, **more)

    async def patch(self, path: str, body: Any, **more: Any) -> Answer:
        return await self.call("PATCH", path, body, **more)

    async def post(self, path: str, body: Any = b"", **more: Any) -> Answer:
        return await self.call("POST", path, body, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        return await self.call("DELETE", path, **more)

    async def follow(self, answer: Answer, **more: Any) -> Answer | None:
        """The next page; None on the last."""
        link = answer.json().get("nextLink")
        if link is None:
            return None
        host = f"https://{self.hub.host}"
        assert link.startswith(host + "/api/"), link
        return await self.hub.ask("GET", link.removeprefix(host), credential=self.hub.owner(), **more)


@asynccontextmanager
async def central_hub(folder: Path, **settings: Any) -> AsyncIterator[Central]:
    async with served_hub(folder, **settings) as hub:
        yield Central(hub)
