"""What a browser does, without one: cookies, forms as they are sent, and what can be read of a page."""

from __future__ import annotations

import re
from html import unescape
from typing import Any, Self

import httpx

from moorage.accounts.model import OWNER, Role
from moorage.ids import DEFAULT_HUB
from tests.servers.world import World

__all__ = ["PASSWORD", "Browser", "text_of"]

PASSWORD = "a word that nobody guesses"
_TAG = re.compile(r"<[^>]*>")


def text_of(page: httpx.Response) -> str:
    """The words of a page, with single spaces."""
    return " ".join(unescape(_TAG.sub(" ", page.text)).split())


class Browser:
    """One jar of cookies. `open` follows redirects, `send` does not."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.origin = f"https://{client.base_url.host}:{client.base_url.port}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._client.aclose()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    async def open(self, path: str, **query: str) -> httpx.Response:
        return await self._client.get(path, params=query or None, follow_redirects=True)

    async def part(self, path: str, target: str, **query: str) -> httpx.Response:
        """As htmx asks for a part of a page."""
        headers = {"hx-request": "true", "hx-target": target}
        return await self._client.get(path, params=query or None, headers=headers)

    async def get(self, path: str) -> httpx.Response:
        return await self._client.get(path)

    async def status(self, method: str, path: str) -> int:
        """Of an answer that may never end."""
        headers = {"sec-fetch-site": "same-origin"}
        async with self._client.stream(method, path, headers=headers) as answer:
            return answer.status_code

    async def read_lines(self, path: str, lines: list[str], headers: dict[str, str] | None = None) -> None:
        """Put the lines of a stream into `lines` until it ends."""
        async with self._client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                lines.append(line)

    async def send(self, path: str, fields: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """A form of ours, posted."""
        headers = {"sec-fetch-site": "same-origin"}
        return await self._client.post(path, data=fields or {}, headers=more.pop("headers", headers), **more)

    async def submit(self, path: str, fields: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """As `send`, and then to wherever the answer leads."""
        answer = await self.send(path, fields, **more)
        return await self.open(answer.headers["location"]) if answer.is_redirect else answer

    async def come_in(self, world: World, login: str, role: Role) -> None:
        """Make that user and sign in by the link, whoever is signed in here."""
        accounts = world.app.accounts
        user, token = await accounts.invite(OWNER, login, role)
        path = f"/sign-in/link/{token.reveal()}"
        answer = await self.send(path, {"password": PASSWORD, "again": PASSWORD})
        assert answer.status_code == 303, answer.text
        assert user.hub == DEFAULT_HUB
