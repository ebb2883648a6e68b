"""A hub in this process with its application on an address of its own, and a browser of httpx that keeps cookies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from moorage.accounts.model import OWNER, OrganizationId, Role
from moorage.accounts.token_model import TokenId
from tests.hubs import free_port
from tests.servers.clients import tls_context
from tests.servers.world import World, running
from tests.web.browser import Browser
from tests.web.shown_as_code import AZ, AZ_HOST, Shell, environment_of


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """With settings of its own where a test is parametrized with them, indirectly."""
    settings: dict[str, Any] = {"hostnames": f"{AZ_HOST},127.0.0.1", "bind": "127.0.0.1"} if AZ else {}
    async with running(tmp_path / "hub", web_port=free_port(), **settings | getattr(request, "param", {})) as world:
        yield world


@pytest.fixture
async def stranger(world: World) -> AsyncIterator[Browser]:
    """Nobody is signed in here."""
    async with _browser(world) as browser:
        yield browser


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Browser]:
    """Ada, an administrator, is signed in here."""
    async with _browser(world) as browser:
        await browser.come_in(world, "ada", "administrator")
        yield browser


@pytest.fixture
async def as_role(world: World) -> AsyncIterator[Callable[[Role], Awaitable[Browser]]]:
    """A browser for each role that is asked for."""
    opened: list[Browser] = []

    async def open_as(role: Role) -> Browser:
        browser = await _browser(world).__aenter__()
        opened.append(browser)
        await browser.come_in(world, f"the-{role}", role)
        return browser

    yield open_as
    for browser in opened:
        await browser.__aexit__()


@pytest.fixture
async def shell(world: World, browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Shell]:
    """Where what pages show as code is pasted; a test that `replays` acts has to paste each of them."""
    _, token = await world.app.application.tokens.create(OWNER, TokenId("ci"), "administrator", OrganizationId(""))
    folder = tmp_path / "pasted"
    folder.mkdir()
    info = world.app.info()
    shell = Shell(browser, folder, environment_of(token.reveal(), info.ca_bundle, folder, info.web_port or 0))
    yield shell
    await shell.close()
    assert not shell.missed(getattr(request.function, "replays", ())), "these were not pasted"


def _browser(world: World) -> Browser:
    info = world.app.info()
    client = httpx.AsyncClient(
        base_url=f"https://{info.bind}:{info.web_port}", verify=tls_context(info.ca_bundle), timeout=30
    )
    return Browser(client)
