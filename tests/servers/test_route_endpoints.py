"""Endpoints of message routes that are no web hooks: files as they lie on the disk, and a NATS server that runs."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastavro
import pytest
from nats.aio.client import Client as NatsClient

from moorage.cli.owner import owner_token
from moorage.ids import DEFAULT_HUB
from tests.servers.world import World, eventually, running

EVENTS = "devices/pump-01/messages/events/"
JSON = "$.ct=application%2Fjson&$.ce=utf-8"
BODIES = (b'{"n":  1}', b"\x00raw", b'{"n": 3}')


@asynccontextmanager
async def routing(data: Path, **settings: Any) -> AsyncIterator[World]:
    async with running(data, **settings) as world:
        world.http.headers["Authorization"] = f"Bearer {owner_token(data, world.clock.now()).reveal()}"
        await world.create("pump-01")
        yield world


async def lead_to(world: World, kind: str, address: str, *, name: str = "there", **more: Any) -> None:
    body = {"kind": kind, "address": address, **more}
    for path, document in ((f"endpoints/{name}", body), (f"routes/{name}", {"endpoints": [name]})):
        response = await world.http.put(f"/moorage/v1/{path}", json=document)
        assert response.status_code == 200, response.text


async def refused(world: World, kind: str, address: str) -> tuple[int, str]:
    response = await world.http.put("/moorage/v1/endpoints/there", json={"kind": kind, "address": address})
    return response.status_code, response.headers.get("moorage-reason", "")


async def send_all(world: World) -> None:
    client = await world.connect()
    for number, body in enumerate(BODIES):
        client.publish(f"{EVENTS}{JSON}&number={number}", body)
    await client.acks(len(BODIES))


async def tried(world: World) -> tuple[int, str]:
    response = await world.http.post("/moorage/v1/endpoints/there/try")
    return response.status_code, response.headers.get("moorage-reason", "")


# --- files -----------------------------------------------------------------------------------------------------------


def records(folder: Path) -> list[Any]:
    found: list[Any] = []
    for each in files(folder):
        with each.open("rb") as file:
            found += fastavro.reader(file)
    return found


def files(folder: Path) -> list[Path]:
    """Those that are whole: what is being written has another suffix."""
    return sorted(each for each in folder.rglob("*") if each.suffix in (".avro", ".json"))


async def test_messages_are_written_to_avro_files_byte_for_byte(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    async with routing(tmp_path / "hub", transfer_folder=str(tmp_path)) as world:
        await lead_to(world, "file", folder.as_uri(), options={"every": "0"})
        await send_all(world)
        await eventually(lambda: len(records(folder)) == 3)
        found = records(folder)
        assert [each["Body"] for each in found] == list(BODIES)
        assert [each["Properties"] for each in found] == [{"number": str(number)} for number in range(3)]
        assert found[0]["SystemProperties"]["iothub-connection-device-id"] == "pump-01"
        assert found[0]["EnqueuedTimeUtc"].endswith("Z")
        (first, *_) = files(folder)
        assert first.relative_to(folder).parts[:2] == ("localhost", found[0]["EnqueuedTimeUtc"][:4])


async def test_messages_are_written_as_lines_of_json_when_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with routing(tmp_path / "hub", transfer_folder=str(tmp_path)) as world:
        await lead_to(world, "file", folder.as_uri(), options={"every": "0", "format": "json"})
        await send_all(world)

        def lines() -> list[Any]:
            return [json.loads(line) for each in files(folder) for line in each.read_text().splitlines()]

        await eventually(lambda: folder.exists() and len(lines()) == 3)
        assert [each["Body"] for each in lines()] == [{"n": 1}, "AHJhdw==", {"n": 3}]


async def test_two_endpoints_that_share_a_folder_keep_what_the_other_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with routing(tmp_path / "hub", transfer_folder=str(tmp_path)) as world:
        for name in ("one", "two"):
            await lead_to(world, "file", folder.as_uri(), name=name, options={"every": "0"})
        await send_all(world)
        await eventually(lambda: folder.exists() and len(records(folder)) == 6)


async def test_messages_that_come_within_a_while_share_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with routing(tmp_path / "hub", transfer_folder=str(tmp_path)) as world:
        await lead_to(world, "file", folder.as_uri(), options={"every": "1"})
        # The first round finds nothing and waits; what comes then is gathered.
        await send_all(world)
        await eventually(lambda: folder.exists() and files(folder))
        assert len(files(folder)) == 1
        assert len(records(folder)) == 3


@pytest.mark.parametrize("folder", ["", "elsewhere"])
async def test_a_folder_outside_of_the_permitted_one_is_refused(tmp_path: Path, folder: str) -> None:
    settings = {"transfer_folder": str(tmp_path)} if folder else {}
    async with routing(tmp_path / "hub", **settings) as world:
        assert await refused(world, "file", f"file:///{folder or 'tmp'}/x") == (400, "endpoint.folder")


async def test_what_is_no_store_of_files_is_refused(tmp_path: Path) -> None:
    async with routing(tmp_path / "hub") as world:
        assert await refused(world, "file", "ftp://files.example/") == (400, "endpoint.address")


# --- NATS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    yield port


@asynccontextmanager
async def nats_server(port: int, folder: Path, *more: str) -> AsyncIterator[str]:
    server = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("nats-server")),
        *("-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), *more),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.terminate()
        await server.wait()


async def dialed(url: str, **more: Any) -> NatsClient:
    client = NatsClient()
    async with asyncio.timeout(30):
        while True:
            try:
                await client.connect(url, allow_reconnect=False, **more)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return client


async def test_messages_are_published_on_the_subject_of_their_device(tmp_path: Path, port: int) -> None:
    async with (
        nats_server(port, tmp_path / "js", "--auth", "s3cret") as url,
        routing(tmp_path / "hub", egress_allow="127.0.0.1") as world,
    ):
        reader = await dialed(url, token="s3cret")
        heard: list[Any] = []

        async def hear(message: Any) -> None:
            heard.append((message.subject, json.loads(message.data)))

        await reader.subscribe("plant.>", cb=hear)
        await reader.flush()
        await lead_to(world, "nats", url, credential="s3cret", options={"subject": "plant.{device}.out"})
        await send_all(world)
        await eventually(lambda: len(heard) == 3)
        assert {subject for subject, _ in heard} == {"plant.pump-01.out"}
        assert [document["properties"]["number"] for _, document in heard] == ["0", "1", "2"]
        assert heard[0][1]["body"] == {"n": 1}
        await reader.close()


async def test_with_jetstream_a_message_counts_once_a_stream_has_it(tmp_path: Path, port: int) -> None:
    async with (
        nats_server(port, tmp_path / "js") as url,
        routing(tmp_path / "hub", egress_allow="127.0.0.1") as world,
    ):
        reader = await dialed(url)
        await lead_to(world, "nats", url, options={"jetstream": "yes"}, retrySeconds=3600)
        await send_all(world)
        # Nothing stores it, so it was not taken.
        await eventually(lambda: world.app._router.health("there").failure is not None)
        assert world.app._router.health("there").delivered == 0
        await reader.jetstream().add_stream(name="MOORAGE", subjects=["moorage.>"])
        await eventually(lambda: world.app._router.health("there").delivered == 3)
        state = (await reader.jetstream().stream_info("MOORAGE")).state
        assert state.messages >= 3
        await reader.close()


async def test_a_message_too_large_for_the_server_is_in_nobodys_way(tmp_path: Path, port: int) -> None:
    (tmp_path / "nats.conf").write_text("max_payload: 4096\n")
    async with (
        nats_server(port, tmp_path / "js", "-c", str(tmp_path / "nats.conf")) as url,
        routing(tmp_path / "hub", egress_allow="127.0.0.1") as world,
    ):
        await (await dialed(url)).close()
        await lead_to(world, "nats", url, retrySeconds=3600)
        client = await world.connect()
        client.publish(f"{EVENTS}{JSON}", b'{"n": "%s"}' % (b"x" * 5000))
        client.publish(f"{EVENTS}{JSON}", b'{"n": 1}')
        await eventually(lambda: world.app._router.health("there").delivered == 1)
        assert world.app.store.read().routing.count_dead(DEFAULT_HUB, "there") == 1


async def test_messages_wait_for_a_server_that_is_not_there_yet(tmp_path: Path, port: int) -> None:
    async with routing(tmp_path / "hub", egress_allow="127.0.0.1") as world:
        await lead_to(world, "nats", f"nats://127.0.0.1:{port}")
        await send_all(world)
        await eventually(lambda: world.app._router.health("there").failure is not None)
        async with nats_server(port, tmp_path / "js"):
            await eventually(lambda: world.app._router.health("there").delivered == 3)
        assert world.app.store.read().routing.count_dead(DEFAULT_HUB, "there") == 0


async def test_a_server_at_an_internal_address_is_not_called_unless_it_is_allowed(tmp_path: Path, port: int) -> None:
    async with routing(tmp_path / "hub") as world:
        assert await refused(world, "nats", f"nats://127.0.0.1:{port}") == (400, "egress.not_allowed")


@pytest.mark.parametrize("address", ["https://broker.example/", "nats:///", "broker.example:4222"])
async def test_what_is_no_nats_server_is_refused(tmp_path: Path, address: str) -> None:
    async with routing(tmp_path / "hub") as world:
        assert await refused(world, "nats", address) == (400, "endpoint.address")
