"""`moorage monitor`, as an operator types it, of a hub that runs as a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moorage.identities.sas import make_token
from moorage.ids import Secret
from tests.hubs import Hub, running_hub
from tests.servers.clients import Client, return_code, tls_context


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("monitor") / "hub") as hub:
        yield hub


async def connect(hub: Hub, name: str, key: str) -> tuple[Client, int]:
    """A device with `key`, and the return code it got."""
    client = await Client.dial(hub.info.mqtt_port, tls_context(hub.ca_bundle))
    token = make_token(f"localhost/devices/{name}", Secret(key), datetime.now(UTC) + timedelta(hours=1))
    return client, return_code(await client.say_hello(name, password=token.reveal().encode()))


def made(hub: Hub, name: str) -> str:
    """The primary key of a new device."""
    (document,) = hub.ask("device", "create", name, "--auth", "sas")
    return str(document["authentication"]["symmetricKey"]["primaryKey"])


async def test_who_is_on_is_a_table_and_a_document_a_line(hub: Hub) -> None:
    key = await asyncio.to_thread(made, hub, "pump-01")
    client, code = await connect(hub, "pump-01", key)
    assert code == 0
    _, refused = await connect(hub, "pump-01", "d3Jvbmc=")
    assert refused == 5
    heading, row = (await asyncio.to_thread(hub.moorage, "monitor")).splitlines()
    assert heading.split("\t")[:2] == ["device", "since"]
    cells = dict(zip(heading.split("\t"), row.split("\t"), strict=True))
    assert cells["device"] == "pump-01"
    assert cells["over"].startswith("MQTT 3.1.1 TLS")
    assert cells["credential"] == "token of its own key"
    assert cells["last refusal"].endswith("token.signature")
    (document,) = await asyncio.to_thread(hub.ask, "monitor", "--credential", "token")
    assert (document["deviceId"], document["connected"]) == ("pump-01", True)
    assert "Nobody" in await asyncio.to_thread(hub.moorage, "monitor", "--credential", "x509")
    client.close()


async def test_a_device_that_is_off_is_shown_when_it_is_asked_for(hub: Hub) -> None:
    await asyncio.to_thread(made, hub, "pump-02")
    (document,) = await asyncio.to_thread(hub.ask, "monitor", "pump-02")
    assert (document["connected"], document["credential"]) == (False, None)
    assert "never connected" in await asyncio.to_thread(hub.moorage, "monitor", "pump-02")
    assert "device.not_found" in await asyncio.to_thread(lambda: hub.moorage("monitor", "nobody", code=1))


async def test_followers_see_who_comes_and_who_is_turned_away(hub: Hub, tmp_path: Path) -> None:
    key = await asyncio.to_thread(made, hub, "pump-03")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; from moorage.cli import main; sys.exit(main())"),
        *("monitor", "pump-03", "--follow", "--json", "--data", str(hub.data)),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    events = []
    async with asyncio.timeout(60):
        events.append(json.loads(await process.stdout.readline()))
        client, _ = await connect(hub, "pump-03", key)
        events.append(json.loads(await process.stdout.readline()))
        client.close()
        events.append(json.loads(await process.stdout.readline()))
        await connect(hub, "pump-03", "d3Jvbmc=")
        events.append(json.loads(await process.stdout.readline()))
    process.terminate()
    await process.wait()
    assert [each["event"] for each in events] == ["following", "connected", "disconnected", "refused"]
    assert events[3]["reason"] == "token.signature"
