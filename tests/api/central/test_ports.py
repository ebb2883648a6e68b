"""The APIs of the application are on the hub's own port and on the application's; a browser's cookie opens neither."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from moorage.accounts.model import OWNER, OrganizationId
from moorage.accounts.token_model import TokenId
from tests.hubs import free_port
from tests.servers.clients import tls_context
from tests.servers.world import World, running

_LIST = "/api/devices?api-version=2022-07-31"
_OWN = "/moorage/v1/application/rules"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "hub", web_port=free_port()) as world:
        yield world


async def test_both_ports_take_tokens_and_no_cookie(world: World) -> None:
    info = world.app.info()
    _, token = await world.app.application.tokens.create(OWNER, TokenId("ci"), "operator", OrganizationId(""))
    for port in (info.https_port, info.web_port):
        async with httpx.AsyncClient(
            base_url=f"https://{info.bind}:{port}", verify=tls_context(info.ca_bundle), timeout=60
        ) as client:
            answer = await client.get(_LIST, headers={"authorization": token.reveal(), "origin": "https://elsewhere"})
            assert (answer.status_code, answer.json()) == (200, {"value": []})
            assert not any(name.startswith("access-control-") for name in answer.headers)
            made = await client.put(
                "/api/devices/pump-01?api-version=1.0", json={}, headers={"authorization": token.reveal()}
            )
            assert made.status_code == 200
            link = (
                await client.get(
                    "/api/enrollmentGroups?$top=1&api-version=1.0", headers={"authorization": token.reveal()}
                )
            ).json()
            assert link["nextLink"].startswith(f"https://{info.bind}:{port}/api/enrollmentGroups?")
            assert (await client.get(link["nextLink"], headers={"authorization": token.reveal()})).status_code == 200
            refused = await client.get(_LIST, headers={"cookie": "moorage=anything"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "Unauthenticated")
            rules = await client.get(_OWN, headers={"authorization": token.reveal()})
            assert (rules.status_code, rules.json()) == (200, {"value": []})
            refused = await client.get(_OWN, headers={"cookie": "moorage=anything"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "Unauthorized")
            await client.delete("/api/devices/pump-01?api-version=1.0", headers={"authorization": token.reveal()})
