"""Import and export jobs v1 (contract/services.md 2.11): with a container behind real TLS, and with folders."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.containers import BlobContainers
from moorage.adapters.egress import Egress
from moorage.adapters.egress_policy import AllowList
from moorage.api.hub_transfers import transfer_routes
from moorage.api.routing import Route
from moorage.dialects.transfer_json import LineCodec
from moorage.hub import transfer_runs
from moorage.hub.transfer_model import ACTIVE
from moorage.hub.transfers import TransferService
from moorage.ids import DEFAULT_HUB
from tests.api.hub.world import ApiWorld, open_world
from tests.blobs import SIGNATURE, BlobContainer
from tests.callees import callee

PATIENCE_S = 60.0


class Transfers:
    """A hub whose imports and exports go to one container, or to folders below one."""

    def __init__(self, container: BlobContainer, uri: str, make: Callable[[ApiWorld], TransferService]) -> None:
        self.container = container
        self.uri = uri
        self.make = make
        self.world: ApiWorld
        self.service: TransferService

    def routes(self, world: ApiWorld) -> Sequence[Route]:
        self.world, self.service = world, self.make(world)
        return transfer_routes(self.service, DEFAULT_HUB, world.store)

    async def create(self, kind: str, status: int = 200, **members: Any) -> Any:
        body = {"type": kind, "outputBlobContainerUri": self.uri, **members}
        if kind == "import":
            body.setdefault("inputBlobContainerUri", self.uri)
        response = await self.world.ask("POST", "/jobs/create", body)
        assert response.status_code == status, response.text
        return response.json()

    async def job(self, job_id: str) -> Any:
        response = await self.world.ask("GET", f"/jobs/{job_id}")
        assert response.status_code == 200, response.text
        return response.json()

    async def ended(self, job_id: str) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while (job := await self.job(job_id))["endTimeUtc"] is None:  # noqa: ASYNC110  # a job is asked, as by clients
                await asyncio.sleep(0.01)
        return job

    async def run(self, kind: str, **members: Any) -> Any:
        return await self.ended((await self.create(kind, **members))["jobId"])

    async def devices(self) -> dict[str, Any]:
        return {each["deviceId"]: each for each in (await self.world.ask("GET", "/devices")).json()}

    def refused(self) -> list[Any]:
        return [json.loads(line) for line in self.container.blobs["importErrors.log"].splitlines()]


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\r\n" for item in items)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "transfers"
    made.mkdir()
    return made


@pytest.fixture
async def transfers(tmp_path: Path, folder: Path) -> AsyncIterator[Transfers]:
    container = BlobContainer()
    async with callee(container.respond) as server:
        containers = BlobContainers(Egress(AllowList.of(["localhost"]), ca_bundle=server.ca_bundle), folder)

        def make(world: ApiWorld) -> TransferService:
            return TransferService(DEFAULT_HUB, world.store, containers, LineCodec(), world.clock)

        opened = Transfers(container, container.uri(server.url), make)
        async with open_world(tmp_path, more_routes=opened.routes):
            yield opened
            await opened.service.aclose()


async def test_what_is_exported_can_be_imported_and_is_the_same_again(transfers: Transfers) -> None:
    world = transfers.world
    edge = await world.device("edge", capabilities={"iotEdge": True})
    await world.device("leaf", deviceScope=edge["deviceScope"], status="disabled", statusReason="why")
    await world.device(
        "pinned", authentication={"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "A" * 40}}
    )
    await world.ask("PUT", "/devices/pinned/modules/m", {"deviceId": "pinned", "moduleId": "m", "managedBy": "me"})
    await world.ask("PATCH", "/twins/leaf", {"tags": {"a": [1]}, "properties": {"desired": {"b": {"c": "ü"}}}})
    before = await transfers.devices()
    job = await transfers.run("export", outputBlobName="fleet.txt")
    assert (job["type"], job["status"], job["progress"], job["failureReason"]) == ("export", "completed", 100, None)
    exported = [json.loads(line) for line in transfers.container.blobs["fleet.txt"].splitlines()]
    assert [(each["id"], each.get("moduleId")) for each in exported] == [
        ("edge", None),
        ("edge", "$edgeAgent"),
        ("edge", "$edgeHub"),
        ("leaf", None),
        ("pinned", None),
        ("pinned", "m"),
    ]
    for name in before:
        await world.ask("DELETE", f"/devices/{name}")
    # A module and a child before what they belong to: the file is read again for them.
    transfers.container.blobs["back.txt"] = lines(*reversed(exported))
    job = await transfers.run("import", inputBlobName="back.txt")
    assert (job["status"], job["failureReason"], transfers.refused()) == ("completed", None, [])
    after = await transfers.devices()
    assert set(after) == {"edge", "leaf", "pinned"}
    for name, device in after.items():
        for member in ("status", "statusReason", "authentication", "capabilities"):
            assert device[member] == before[name][member], (name, member)
    assert after["edge"]["generationId"] != before["edge"]["generationId"]
    assert after["leaf"]["deviceScope"] == after["edge"]["deviceScope"]
    twin = (await world.ask("GET", "/twins/leaf")).json()
    assert (twin["tags"], twin["properties"]["desired"]["b"]) == ({"a": [1]}, {"c": "ü"})
    module = (await world.ask("GET", "/devices/pinned/modules/m")).json()
    assert module["managedBy"] == "me"


async def test_an_export_without_keys_has_none_and_an_import_of_it_makes_new_ones(transfers: Transfers) -> None:
    key = (await transfers.world.device("pump"))["authentication"]["symmetricKey"]["primaryKey"]
    await transfers.run("export", excludeKeysInExport=True)
    assert key.encode() not in transfers.container.blobs["devices.txt"]
    await transfers.run("export")
    assert key.encode() in transfers.container.blobs["devices.txt"]
    await transfers.run("export", excludeKeysInExport="true")
    await transfers.world.ask("DELETE", "/devices/pump")
    await transfers.run("import")
    made = (await transfers.devices())["pump"]["authentication"]["symmetricKey"]["primaryKey"]
    assert made and made != key


async def test_lines_that_are_refused_are_in_the_log_and_the_others_are_done(transfers: Transfers) -> None:
    await transfers.world.device("there")
    transfers.container.blobs["devices.txt"] = (
        b"\xef\xbb\xbf"
        + lines({"id": "a"}, {"id": "there", "importMode": "create"})
        + b"not json\n\n"
        + b'{"id":"long","tags":{"x":"'
        + b"y" * (1024 * 1024)
        + b'"}}\n'
        + lines({"id": "orphan", "moduleId": "m"}, {"id": "child", "parentScopes": ["ms-azure-iot-edge://no-1"]})
        + b'{"id":"last"}'
    )
    job = await transfers.run("import")
    assert (job["status"], job["failureReason"]) == (
        "completed",
        "5 of 8 lines were refused; importErrors.log says why",
    )
    assert [(each["line"], each.get("deviceId"), each["reason"]) for each in transfers.refused()] == [
        (2, "there", "device.exists"),
        (3, None, "json.malformed"),
        (5, None, "transfer.line"),
        (6, "orphan", "device.not_found"),
        (7, "child", "device_scope.unknown"),
    ]
    assert transfers.refused()[0]["errorCode"] == "DeviceAlreadyExists"
    assert set(await transfers.devices()) == {"a", "last", "there"}
    assert transfers.world.store.read().transfers.count_refused(DEFAULT_HUB, job["jobId"]) == (0, 0)
    # The log of the next one is its own.
    transfers.container.blobs["devices.txt"] = lines({"id": "b"})
    await transfers.run("import")
    assert transfers.container.blobs["importErrors.log"] == b""


async def test_a_storage_that_is_busy_for_a_moment_is_asked_again(
    transfers: Transfers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_runs, "_PAUSES_S", (0.01, 0.01, 0.01))
    transfers.container.blobs["devices.txt"] = lines({"id": "a"})
    transfers.container.unavailable = 2
    assert (await transfers.run("import"))["status"] == "completed"
    transfers.container.unavailable = 100
    job = await transfers.run("export")
    assert (job["status"], job["failureReason"].split(":")[0]) == ("failed", "container.unavailable")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda uri: uri.replace(SIGNATURE, "wrong"), "container.refused"),
        (lambda uri: uri.replace("localhost", "127.0.0.2"), "egress.not_allowed"),
    ],
    ids=["signature", "address"],
)
async def test_a_container_that_cannot_be_used_fails_the_job_and_says_why(
    transfers: Transfers, change: Callable[[str], str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    transfers.uri = change(transfers.uri)
    job = await transfers.run("export")
    assert (job["status"], job["failureReason"].split(":")[0]) == ("failed", reason)
    assert "sig=" not in job["failureReason"] and SIGNATURE not in caplog.text


async def test_a_blob_that_is_missing_or_changes_fails_the_import(transfers: Transfers) -> None:
    job = await transfers.run("import", inputBlobName="absent.txt")
    assert job["failureReason"].startswith("container.missing")
    items = [{"id": f"d{number}", "tags": {"filler": "x" * 3000}} for number in range(600)]
    transfers.container.blobs["devices.txt"] = lines(*items)

    def change(method: str, blob: str) -> None:
        reads.append(blob)
        if len(reads) == 2:
            transfers.container.blobs["devices.txt"] += b"\n"

    reads: list[str] = []
    transfers.container.before = change
    job = await transfers.run("import")
    assert (job["status"], job["failureReason"].split(":")[0]) == ("failed", "container.changed")
    assert 0 < len(await transfers.devices()) < 600


async def test_signatures_are_shown_to_nobody(transfers: Transfers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = await transfers.create("export")
    await transfers.ended(made["jobId"])
    listed = (await transfers.world.ask("GET", "/jobs", policy="registryRead")).json()
    assert [each["jobId"] for each in listed] == [made["jobId"]]
    for text in (json.dumps(made), json.dumps(listed), caplog.text):
        assert SIGNATURE not in text
    assert made["outputBlobContainerUri"].endswith("sig=*****")
    assert f"transfer.created hub=hub kind=export job={made['jobId']} by=policy:iothubowner" in caplog.text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "transfer.kind"),
        ({"type": "backup"}, "transfer.kind"),
        ({"type": "export"}, "transfer.container"),
        ({"type": "import", "outputBlobContainerUri": "https://a.example/c?sig=x"}, "transfer.container"),
        ({"type": "export", "outputBlobContainerUri": "http://a.example/c?sig=x"}, "container.uri"),
        ({"type": "export", "outputBlobContainerUri": "https://a.example/?sig=x"}, "container.uri"),
        ({"type": "export", "outputBlobContainerUri": "https://[::1/c"}, "container.uri"),
        ({"type": "export", "outputBlobContainerUri": "file:///etc"}, "container.folder"),
        ({"type": "export", "outputBlobContainerUri": "file:///no/such/folder"}, "container.folder"),
        (
            {"type": "export", "outputBlobContainerUri": "https://a.example/c", "outputBlobName": "../x"},
            "container.blob",
        ),
        (
            {
                "type": "export",
                "outputBlobContainerUri": "https://a.example/c",
                "storageAuthenticationType": "identityBased",
            },
            "transfer.identity",
        ),
        (
            {"type": "export", "outputBlobContainerUri": "https://a.example/c", "includeConfigurations": True},
            "transfer.configurations",
        ),
        ({"type": "export", "outputBlobContainerUri": 5}, "body.member"),
    ],
)
async def test_a_job_that_makes_no_sense_is_refused_at_once(
    transfers: Transfers, body: dict[str, Any], reason: str
) -> None:
    response = await transfers.world.ask("POST", "/jobs/create", body)
    assert (response.status_code, response.headers["moorage-reason"]) == (400, reason)
    assert (await transfers.world.ask("GET", "/jobs")).json() == []


async def test_one_runs_at_a_time_and_can_be_cancelled(transfers: Transfers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_runs, "_PAUSES_S", (5.0,))
    transfers.container.unavailable = 1000
    first = await transfers.create("export")
    refused = await transfers.world.ask(
        "POST", "/jobs/create", {"type": "export", "outputBlobContainerUri": transfers.uri}
    )
    assert (refused.status_code, refused.headers["iothub-errorcode"]) == (403, "JobQuotaExceeded")
    gone = await transfers.world.ask("DELETE", f"/jobs/{first['jobId']}")
    assert gone.status_code == 204
    job = await transfers.job(first["jobId"])
    assert job["status"] == "cancelled" and job["endTimeUtc"] is not None
    # Again is as once.
    assert (await transfers.world.ask("DELETE", f"/jobs/{first['jobId']}")).status_code == 204
    transfers.container.unavailable = 0
    assert (await transfers.run("export"))["status"] == "completed"
    for method in ("GET", "DELETE"):
        absent = await transfers.world.ask(method, "/jobs/nobody")
        assert (absent.status_code, absent.headers["iothub-errorcode"]) == (404, "JobNotFound")


@pytest.mark.parametrize("kind", ["import", "export"])
async def test_a_job_goes_on_where_an_earlier_run_of_the_hub_left_it(
    transfers: Transfers, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service ends in the middle and another one on the same store takes over; nothing is done twice."""
    monkeypatch.setattr(transfer_runs, "BLOCK_BYTES", 20_000)
    world, container = transfers.world, transfers.container
    count = 1000
    container.blobs["devices.txt"] = lines(
        *({"id": f"d{number:04}", "tags": {"filler": "x" * 2000}} for number in range(count))
    )
    if kind == "export":
        assert (await transfers.run("import"))["status"] == "completed"
    made = len(world.events)
    job_id = (await transfers.create(kind, outputBlobName="out.txt"))["jobId"]
    async with asyncio.timeout(PATIENCE_S):
        while not (await transfers.job(job_id))["progress"]:  # noqa: ASYNC110  # a job is asked, as by clients
            await asyncio.sleep(0)
    await transfers.service.aclose()
    # What it had handed to the store by then is written; the store writes in order.
    await world.store.write(lambda tables: None)
    job = world.store.read().transfers.find(DEFAULT_HUB, job_id)
    assert job is not None and job.status == ACTIVE and 0 < job.progress < 99
    transfers.service = transfers.make(world)
    begun = len(container.requests)
    await transfers.service.resume()
    assert (await transfers.ended(job_id))["status"] == "completed"
    await transfers.service.aclose()
    if kind == "import":
        assert len(await transfers.devices()) == count
        subjects = [event.subject for event in world.events[made:]]
        assert sorted(subjects) == sorted(set(subjects)) and len(subjects) == count
        # It was read from where it stood.
        assert container.requests[begun][2] == job.checkpoint.position
    else:
        exported = [json.loads(line)["id"] for line in container.blobs["out.txt"].splitlines()]
        assert exported == [f"d{number:04}" for number in range(count)]
        # Only the blocks that were missing, and the list of all.
        assert len(container.requests) - begun == len(container.blocks["out.txt"]) - job.checkpoint.blocks + 1


async def test_a_folder_is_a_container_where_the_operator_allows_it(transfers: Transfers, folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "devices.txt").write_bytes(lines({"id": "a"}, {"id": "b"}, {"id": "bad id"}))
    transfers.uri = (folder / "in").as_uri()
    assert (await transfers.run("import"))["status"] == "completed"
    assert set(await transfers.devices()) == {"a", "b"}
    log = folder / "in" / "importErrors.log"
    assert json.loads(log.read_text())["line"] == 3
    assert (await transfers.run("export", outputBlobName="out.txt"))["status"] == "completed"
    out = folder / "in" / "out.txt"
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["a", "b"]
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (folder / "in").iterdir()) == ["devices.txt", "importErrors.log", "out.txt"]


async def test_no_link_and_no_name_leads_out_of_the_folder(transfers: Transfers, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "devices.txt").write_bytes(lines({"id": "stolen"}))
    (folder / "link").symlink_to(secret)
    (folder / "devices.txt").symlink_to(secret / "devices.txt")
    for uri in ((folder / "link").as_uri(), f"{folder.as_uri()}/../secret", f"{folder.as_uri()}/%2e%2e/secret"):
        response = await transfers.world.ask("POST", "/jobs/create", {"type": "export", "outputBlobContainerUri": uri})
        assert (response.status_code, response.headers["moorage-reason"]) == (400, "container.folder"), uri
    transfers.uri = folder.as_uri()
    for name in (".hidden", "a/b", "..", "/etc/passwd"):
        response = await transfers.world.ask(
            "POST", "/jobs/create", {"type": "export", "outputBlobContainerUri": transfers.uri, "outputBlobName": name}
        )
        assert (response.status_code, response.headers["moorage-reason"]) == (400, "container.blob"), name
    job = await transfers.run("import")
    assert (job["status"], job["failureReason"].split(":")[0]) == ("failed", "container.refused")
    assert await transfers.devices() == {}


async def test_the_registry_is_read_as_lines_by_its_owner(transfers: Transfers) -> None:
    world = transfers.world
    await world.ask("POST", "/devices", [{"id": f"d{number:03}"} for number in range(100)])
    response = await world.ask("GET", "/moorage/v1/devices:export", policy="owner")
    assert response.headers["content-type"].startswith("application/x-ndjson")
    read = [json.loads(line) for line in response.text.splitlines()]
    assert [each["id"] for each in read] == [f"d{number:03}" for number in range(100)]
    assert all(each["authentication"]["symmetricKey"]["primaryKey"] for each in read)
    response = await world.ask("GET", "/moorage/v1/devices:export?keys=no", policy="owner")
    assert all(
        not json.loads(line)["authentication"]["symmetricKey"]["primaryKey"] for line in response.text.splitlines()
    )
    assert (await world.ask("GET", "/moorage/v1/devices:export")).status_code == 401
    assert (await world.ask("GET", "/moorage/v1/devices:export?keys=maybe", policy="owner")).status_code == 400


async def test_old_jobs_are_forgotten(transfers: Transfers) -> None:
    old = (await transfers.run("export"))["jobId"]
    transfers.world.clock.advance(31 * 86400)
    new = (await transfers.run("export"))["jobId"]
    assert [each["jobId"] for each in (await transfers.world.ask("GET", "/jobs")).json()] == [new]
    assert (await transfers.world.ask("GET", f"/jobs/{old}")).status_code == 404
