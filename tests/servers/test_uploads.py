"""File uploads by the letter: what devices ask for, what storage libraries send, and what neither may do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from moorage.hub.uploads import MAX_OPEN
from moorage.identities.model import ByAuthority
from moorage.identities.owner import OwnerKey
from moorage.ids import DEFAULT_HUB
from moorage.servers.http import HTTPStream
from tests import certs
from tests.servers.http_clients import RawHTTP, Response
from tests.servers.revoking import add_list, crl
from tests.servers.test_device_http import VERSION, call, device, error, token
from tests.servers.world import World, eventually, running

BLOCK_BLOB = "x-ms-blob-type: BlockBlob"
LIST_TYPE = "Content-Type: application/xml; charset=utf-8"


@dataclass
class Upload:
    """An upload that a device has begun; `target` is what its storage library asks for."""

    world: World
    http: RawHTTP
    document: dict[str, str]
    device: str

    @property
    def target(self) -> str:
        document = self.document
        return f"/{document['containerName']}/{document['blobName']}{document['sasToken']}"

    async def put(self, body: bytes, *headers: str) -> Response:
        return await call(self.http, "PUT", self.target, BLOCK_BLOB, *headers, body=body)

    async def put_block(self, block: str, body: bytes, *headers: str) -> Response:
        at = f"{self.target}&comp=block&blockid={quote(id_of(block), safe='')}"
        return await call(self.http, "PUT", at, *headers, body=body)

    async def commit(self, *blocks: str, headers: Sequence[str] = ()) -> Response:
        body = "".join(f"<Latest>{id_of(block)}</Latest>" for block in blocks)
        return await self.put_list(f'<?xml version="1.0" encoding="utf-8"?><BlockList>{body}</BlockList>', *headers)

    async def put_list(self, text: str, *headers: str) -> Response:
        at = f"{self.target}&comp=blocklist"
        return await call(self.http, "PUT", at, LIST_TYPE, *headers, body=text.encode())

    async def end(self, success: Any = True, *, in_path: bool = False, correlation: str | None = None) -> Response:
        correlation = correlation or self.document["correlationId"]
        document = {"isSuccess": success, "statusCode": 200, "statusDescription": "fine"}
        path = f"/devices/{self.device}/files/notifications"
        if in_path:
            path += f"/{correlation}"
        else:
            document["correlationId"] = correlation
        return await call(
            self.http, "POST", path + VERSION, token(self.world, self.device), body=json.dumps(document).encode()
        )


def id_of(block: str) -> str:
    return base64.b64encode(block.encode()).decode()


async def begin(world: World, http: RawHTTP, name: str = "log.txt", device_id: str = "pump-01") -> Upload:
    answer = await ask(world, http, {"blobName": name}, device_id)
    assert answer.status == 200, answer.body
    return Upload(world, http, json.loads(answer.body), device_id)


async def ask(world: World, http: RawHTTP, document: Any, device_id: str = "pump-01") -> Response:
    path = f"/devices/{device_id}/files{VERSION}"
    return await call(http, "POST", path, token(world, device_id), body=json.dumps(document).encode())


async def stored(world: World) -> dict[str, bytes]:
    found = {}
    for file in await world.app.uploads.files("", "", 1000):
        _, pieces = await world.app.uploads.read(file.name)
        found[file.name] = b"".join([piece async for piece in pieces])
        assert len(found[file.name]) == file.size
    return found


def code(answer: Response) -> tuple[int, str]:
    """As the header and the body of Azure's storage have it."""
    inside = re.search(rb"<Code>(\w+)</Code>", answer.body)
    assert inside is not None and inside[1].decode() == answer.headers["x-ms-error-code"], answer.body
    assert answer.headers["content-type"].startswith("application/xml")
    return answer.status, answer.headers["x-ms-error-code"]


def waiting_on_disk(world: World) -> list[Path]:
    """Less what is being removed."""
    uploads = [path for path in (world.app.config.data / "blocks").glob("*") if path.suffix != ".gone"]
    return [path for upload in uploads for path in upload.iterdir()]


async def notification(world: World) -> dict[str, Any] | None:
    """The oldest, settled."""
    answer = await world.http.get("/messages/serviceBound/filenotifications")
    if answer.status_code == 204:
        return None
    lock = answer.headers["etag"].strip('"')
    assert (await world.http.delete(f"/messages/serviceBound/filenotifications/{lock}")).status_code == 204
    assert answer.headers["content-type"] == "application/vnd.microsoft.iothub.filenotification.json"
    return dict(answer.json())


# -- the way it goes ---------------------------------------------------------------------------------------------------


async def test_a_file_in_one_piece(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http, "logs/2030/log 1.txt")
        document = upload.document
        assert document["hostName"] == "localhost"
        assert document["blobName"] == "pump-01/logs/2030/log 1.txt"
        assert document["sasToken"].startswith("?") and "sp=w" in document["sasToken"]
        upload.document["blobName"] = quote(document["blobName"])
        answer = await upload.put(b"x" * 100_000, "x-ms-version: 2019-02-02", "x-ms-client-request-id: abc")
        assert (answer.status, answer.body) == (201, b"")
        assert answer.headers["etag"].startswith('"0x') and "last-modified" in answer.headers
        assert answer.headers["x-ms-version"] == "2019-02-02"
        assert answer.headers["x-ms-client-request-id"] == "abc"
        ended = await upload.end()
        assert (ended.status, ended.body) == (204, b"")
    assert await stored(world) == {"pump-01/logs/2030/log 1.txt": b"x" * 100_000}
    assert waiting_on_disk(world) == []
    told = await notification(world)
    assert told is not None
    port = world.app.info().https_port
    assert told["blobUri"] == f"https://localhost:{port}/uploads/pump-01/logs/2030/log%201.txt"
    assert (told["deviceId"], told["blobName"]) == ("pump-01", "pump-01/logs/2030/log 1.txt")
    assert told["blobSizeInBytes"] == 100_000
    assert told.keys() >= {"lastUpdatedTime", "enqueuedTimeUtc"}
    assert await notification(world) is None


async def test_a_file_in_blocks_is_what_the_list_says(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        for block, body in (("c", b"3"), ("a", b"1"), ("b", b"old"), ("never", b"listed")):
            answer = await upload.put_block(block, body)
            assert answer.status == 201 and "etag" not in answer.headers
        assert (await upload.put_block("b", b"2" * 300_000)).status == 201
        assert await stored(world) == {}
        assert (await upload.commit("a", "b", "c", "a")).status == 201
        assert await stored(world) == {"pump-01/log.txt": b"1" + b"2" * 300_000 + b"31"}
        # A client that did not hear the answer sends it again; what it never sent is not there.
        assert (await upload.commit("a", "b", "c", "a")).status == 201
        assert code(await upload.commit("a", "b")) == (400, "InvalidBlockList")
        # The blocks may come once more under their names, which is another file.
        for block in ("a", "b", "c"):
            assert (await upload.put_block(block, b"new")).status == 201
        assert (await upload.commit("a", "b", "c", "a")).status == 201
        assert await stored(world) == {"pump-01/log.txt": b"new" * 4}
        assert (await upload.end(in_path=True)).status == 204
    assert waiting_on_disk(world) == []


async def test_an_empty_file_is_one(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        assert (await upload.put(b"", "Content-Length: 0")).status == 201
        assert (await upload.end()).status == 204
        other = await begin(world, http, "other")
        assert (await other.commit()).status == 201
    assert await stored(world) == {"pump-01/log.txt": b"", "pump-01/other": b""}


async def test_a_large_file_is_not_held_in_memory(world: World) -> None:
    """The body is past what any other request may have, and comes as fast as it is taken."""
    await world.create("pump-01")
    piece, count = bytes(range(256)) * 4096, 12
    async with device(world) as http:
        upload = await begin(world, http)
        http.say(f"PUT {upload.target} HTTP/1.1\r\nHost: localhost\r\n{BLOCK_BLOB}\r\n")
        http.say(f"Expect: 100-continue\r\nContent-Length: {len(piece) * count}\r\n\r\n")
        assert (await http.response()).status == 100
        most = 0
        for _ in range(count):
            http.say(piece)
            await http.writer.drain()
            (stream,) = (each for door in world.app.listeners.doors for each in door.streams)
            most = max(most, stream._handler._body_ahead)  # type: ignore[union-attr]  # what it holds
        assert (await http.response()).status == 201
        assert most < 1024 * 1024
        assert (await upload.end()).status == 204
    found = await stored(world)
    assert hashlib.sha256(found["pump-01/log.txt"]).digest() == hashlib.sha256(piece * count).digest()


async def test_names_that_would_end_a_path_come_encoded(world: World) -> None:
    await world.create("pump?#1")
    async with device(world) as http:
        path = f"/devices/{quote('pump?#1', safe='')}/files{VERSION}"
        credential = f"Authorization: {world.token('pump?#1').decode()}"
        answer = await call(http, "POST", path, credential, body=json.dumps({"blobName": "50%.txt"}).encode())
        assert answer.status == 200, answer.body
        upload = Upload(world, http, json.loads(answer.body), "pump?#1")
        assert upload.document["blobName"] == "pump%3F%231/50%25.txt"
        assert (await upload.put(b"joined as it is")).status == 201
        upload.document["blobName"] = quote(upload.document["blobName"])
        assert (await upload.put(b"and encoded once more")).status == 201
    assert await stored(world) == {"pump?#1/50%.txt": b"and encoded once more"}


async def test_every_kind_of_certificate_uploads(world: World) -> None:
    root = certs.root()
    cell = certs.intermediate(certs.intermediate(root, "Plant Line 7"), "Plant Cell 3")
    shown = {
        "leaf": await world.create_by_authority("leaf", ca=root),
        "pinned": await world.create_pinned("pinned"),
    }
    await world.create("deep", ByAuthority())
    shown["deep"] = certs.device(cell, "deep")
    for name, issued in shown.items():
        async with device(world, issued) as http:
            path = f"/devices/{name}/files"
            blank = "Authorization: "
            answer = await call(http, "POST", f"{path}/{VERSION}", blank, body=b'{"blobName": "a"}')
            upload = Upload(world, http, json.loads(answer.body), name)
            assert (await upload.put(name.encode())).status == 201
            document = {"correlationId": upload.document["correlationId"], "isSuccess": True}
            ended = await call(
                http, "POST", f"{path}/notifications/{VERSION}", blank, body=json.dumps(document).encode()
            )
            assert ended.status == 204
    assert await stored(world) == {f"{name}/a": name.encode() for name in shown}


async def test_revoking_a_certificate_ends_the_uploads_that_were_begun_with_it(world: World) -> None:
    root = certs.root()
    uploads: dict[str, Upload] = {}
    async with AsyncExitStack() as stack:
        for name in ("stolen", "good"):
            issued = await world.create_by_authority(name, ca=root)
            http = await stack.enter_async_context(device(world, issued))
            path, blank = f"/devices/{name}/files{VERSION}", "Authorization: "
            answer = await call(http, "POST", path, blank, body=b'{"blobName": "a"}')
            uploads[name] = Upload(world, http, json.loads(answer.body), name)
            assert (await uploads[name].put_block("one", b"1")).status == 201
            if name == "stolen":
                stolen = issued
        # One that is on its way, and that a hub could not tell from the others by its signature.
        late = uploads["stolen"]
        late.http.say(f"PUT {late.target} HTTP/1.1\r\nHost: localhost\r\n{BLOCK_BLOB}\r\nContent-Length: 5\r\n\r\n")
        late.http.say(b"ab")
        await has_read(world, 2)
        await add_list(world, crl(root, stolen))
        late.http.say(b"cde")
        assert code(await late.http.response()) == (403, "AuthenticationFailed")
        assert (await uploads["good"].put_block("two", b"2")).status == 201
        assert (await uploads["good"].commit("one", "two")).status == 201
        async with device(world) as stranger:
            late.http = stranger
            assert code(await late.put_block("two", b"2")) == (403, "AuthenticationFailed")
    assert await stored(world) == {"good/a": b"12"}


# -- correlation ids ---------------------------------------------------------------------------------------------------


async def test_a_correlation_id_is_good_once_and_for_its_device(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    async with device(world) as http:
        upload = await begin(world, http)
        assert error(await upload.end()) == (400020, "InvalidStorageEndpointOrBlob")
        assert (await upload.put(b"x")).status == 201
        stranger = Upload(world, http, upload.document, "pump-02")
        assert error(await stranger.end()) == (400015, "InvalidFileUploadCorrelationId")
        assert error(await upload.end("yes")) == (400019, "InvalidFileUploadCompletionStatus")
        assert error(await upload.end(correlation="x" * 5000)) == (400015, "InvalidFileUploadCorrelationId")
        assert (await upload.end()).status == 204
        assert error(await upload.end()) == (400015, "InvalidFileUploadCorrelationId")
        assert code(await upload.put(b"late")) == (403, "AuthenticationFailed")
    assert await stored(world) == {"pump-01/log.txt": b"x"}


async def test_an_upload_that_failed_is_told_to_nobody_and_leaves_nothing(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        assert (await upload.put_block("a", b"x")).status == 201
        assert len(waiting_on_disk(world)) == 1
        assert (await upload.end(False)).status == 204
        assert waiting_on_disk(world) == []
    assert await notification(world) is None


async def test_ten_uploads_may_be_open(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    async with device(world) as http:
        uploads = [await begin(world, http, f"{number}") for number in range(MAX_OPEN)]
        refused = await ask(world, http, {"blobName": "more"})
        assert error(refused) == (403006, "DeviceMaximumActiveFileUploadLimitExceeded")
        await begin(world, http, "another's", "pump-02")
        assert (await uploads[0].end(False)).status == 204
        await begin(world, http, "more")
        assert (await ask(world, http, {"blobName": "more"})).status == 403
        world.clock.advance(3601)
        await begin(world, http, "after they expired")


async def test_an_upload_expires_with_its_signature_and_its_blocks(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        assert (await upload.put_block("a", b"x")).status == 201
        world.clock.advance(3601)
        assert code(await upload.commit("a")) == (403, "AuthenticationFailed")
        assert error(await upload.end()) == (400016, "ExpiredFileUploadCorrelationId")
        await world.app.uploads.sweep()
        assert waiting_on_disk(world) == []
        world.clock.advance(3601)
        await world.app.uploads.sweep()
        assert error(await upload.end()) == (400015, "InvalidFileUploadCorrelationId")


async def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as world:
        await world.create("pump-01")
        async with device(world) as http:
            upload = await begin(world, http)
            assert (await upload.put_block("a", b"before")).status == 201
    async with running(tmp_path / "hub", clock=world.clock) as after:
        async with device(after) as http:
            again = Upload(after, http, upload.document, "pump-01")
            await after.app.uploads.sweep()
            assert (await again.put_block("b", b" and after")).status == 201
            assert (await again.commit("a", "b")).status == 201
            assert (await again.end()).status == 204
        assert await stored(after) == {"pump-01/log.txt": b"before and after"}
        assert (await notification(after) or {})["blobSizeInBytes"] == 16


# -- what a signature does not open ------------------------------------------------------------------------------------


async def test_blocks_stay_while_the_store_fails_so_that_the_list_can_be_sent_again(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    async with device(world) as http:
        upload = await begin(world, http, "day/log.txt")
        assert (await upload.put_block("a", b"x" * 10)).status == 201
        assert (await upload.put_block("b", b"y" * 10)).status == 201
        files = world.app.config.data / "uploads"
        files.mkdir(exist_ok=True)
        # A link to itself: no file can be made below it.
        (files / "pump-01").symlink_to("pump-01")
        assert code(await upload.commit("a", "b")) == (503, "ServerBusy")
        assert error(await upload.end()) == (400020, "InvalidStorageEndpointOrBlob")
        (files / "pump-01").unlink()
        assert (await upload.commit("a", "b")).status == 201
        assert (await upload.end()).status == 204
        assert (await stored(world)) == {"pump-01/day/log.txt": b"x" * 10 + b"y" * 10}
        below = await begin(world, http, "day/log.txt/more")
        assert code(await below.put(b"z")) == (409, "BlobAlreadyExists")


async def test_a_commit_that_is_sent_several_times_at_once_makes_one_file(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        names = [f"{number:03}" for number in range(40)]
        for name in names:
            assert (await upload.put_block(name, name.encode() * 1000)).status == 201
        service = world.app.uploads
        (known,) = world.app.store.read().file_uploads.expired(DEFAULT_HUB, world.clock.now() + timedelta(days=1), 9)
        made = await asyncio.gather(*(service.commit(known, [name.encode() for name in names]) for _ in range(8)))
        assert {each.size for each in made} == {40 * 3000}
        assert await stored(world) == {"pump-01/log.txt": b"".join(name.encode() * 1000 for name in names)}
        assert not service._committing
        assert (await upload.end()).status == 204


async def test_a_signature_opens_one_blob_for_writing(world: World) -> None:
    await world.create("pump-01")
    await world.create("pump-02")
    async with device(world) as http:
        upload = await begin(world, http)
        other = await begin(world, http, "other", "pump-02")
        assert (await upload.put(b"x")).status == 201
        answers = []
        for target in (
            upload.target.replace("log.txt", "log.tx"),
            upload.target.replace("/log.txt", "/sub/log.txt"),
            upload.target.replace("pump-01", "pump-02"),
            upload.target.replace("log.txt", "%2e%2e/pump-02/other"),
            upload.target.replace("log.txt", "../pump-02/other"),
            other.target.replace("pump-02/other", "pump-01/log.txt"),
            upload.target.partition("&sig=")[0],
            upload.target[:-1] + ("x" if upload.target[-1] != "x" else "y"),
            upload.target.replace("sig=", "SIG="),
            "/uploads/nobody/nothing?sig=",
        ):
            answer = await call(http, "PUT", target, BLOCK_BLOB, body=b"y")
            answers.append(code(answer))
            assert b"signature" not in answer.body and b"pump" not in answer.body
        assert set(answers) == {(403, "AuthenticationFailed")}, answers
        read = await call(http, "GET", upload.target)
        assert code(read) == (403, "AuthorizationPermissionMismatch")
        assert (await call(http, "HEAD", upload.target)).status == 403
        assert code(await call(http, "DELETE", upload.target)) == (405, "UnsupportedHttpVerb")
    assert await stored(world) == {"pump-01/log.txt": b"x"}
    assert await world.reason("pump-01") == "upload.signature"


async def test_a_device_that_was_disabled_or_deleted_writes_no_more(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        await world.set_status("pump-01", "disabled")
        assert code(await upload.put(b"x")) == (403, "AuthenticationFailed")
        await world.set_status("pump-01", "enabled")
        assert (await upload.put(b"x")).status == 201
        await world.delete("pump-01")
        assert code(await upload.put(b"y")) == (403, "AuthenticationFailed")
    assert await stored(world) == {"pump-01/log.txt": b"x"}


async def test_a_name_has_to_be_one(world: World) -> None:
    long = ("x" * 895, "ü" * 121)
    await world.create("pump-01")
    async with device(world) as http:
        for name in ("", "a//b", "../x", "a/../b", "a/.", "/a", "a/", "a\nb", "a\\b", *long, "a\x7f", "a#1", 7, None):
            answer = await ask(world, http, {"blobName": name})
            assert error(answer) == (400004, "ArgumentInvalid"), name


UNSERVED: list[tuple[str, tuple[str, ...], tuple[int, str]]] = [
    ("", ("x-ms-blob-type: AppendBlob",), (400, "UnsupportedHeader")),
    ("", ("X-None: 1",), (400, "UnsupportedHeader")),
    ("", (BLOCK_BLOB, "x-ms-copy-source: http://169.254.169.254/"), (400, "UnsupportedHeader")),
    ("&comp=block&blockid=YQ==", ("x-ms-copy-source: http://127.0.0.1/",), (400, "UnsupportedHeader")),
    ("&comp=metadata", (BLOCK_BLOB,), (400, "UnsupportedHeader")),
    ("&comp=block", (), (400, "InvalidQueryParameterValue")),
    ("&comp=block&blockid=%21", (), (400, "InvalidQueryParameterValue")),
    ("&comp=block&blockid=" + base64.b64encode(b"x" * 65).decode(), (), (400, "InvalidQueryParameterValue")),
    ("", (BLOCK_BLOB, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="), (400, "Md5Mismatch")),
    ("", (BLOCK_BLOB, "Content-MD5: short"), (400, "Md5Mismatch")),
]


async def test_what_is_not_served_is_refused_in_azures_words(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        for query, headers, wanted in UNSERVED:
            assert code(await call(http, "PUT", upload.target + query, *headers, body=b"x")) == wanted, (query, headers)
        md5 = base64.b64encode(hashlib.md5(b"x", usedforsecurity=False).digest()).decode()
        assert (await upload.put(b"x", f"Content-MD5: {md5}")).status == 201
    assert waiting_on_disk(world) == []


NO_LISTS = [
    "",
    "<BlockList>",
    "<Other/>",
    "<BlockList><Wrong>YQ==</Wrong></BlockList>",
    "<BlockList><Latest><a/></Latest></BlockList>",
    '<!DOCTYPE x [<!ENTITY a "aaaa">]><BlockList><Latest>&a;</Latest></BlockList>',
    '<!DOCTYPE x SYSTEM "file:///etc/passwd"><BlockList/>',
    "<BlockList><Latest>&lt;</Latest></BlockList>",
    "\x00",
]


async def test_a_block_list_has_to_be_one(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        assert (await upload.put_block("a", b"x")).status == 201
        for text in NO_LISTS:
            assert code(await upload.put_list(text))[0] == 400, text
    assert await stored(world) == {}


async def test_what_has_to_be_new_replaces_nothing(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        assert (await upload.put(b"first", "If-None-Match: *")).status == 201
        assert code(await upload.put(b"second", "If-None-Match: *")) == (409, "BlobAlreadyExists")
        assert (await upload.put_block("a", b"third")).status == 201
        assert code(await upload.commit("a", headers=["If-None-Match: *"])) == (409, "BlobAlreadyExists")
        assert await stored(world) == {"pump-01/log.txt": b"first"}
        assert (await upload.commit("a")).status == 201
    assert await stored(world) == {"pump-01/log.txt": b"third"}


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_files_have_a_size_and_so_has_all_that_waits(tmp_path: Path) -> None:
    mib = b"x" * 1024 * 1024
    async with running(tmp_path / "hub", upload_max_mb=2, upload_waiting_max_mb=3) as world:
        await world.create("pump-01")
        async with device(world) as http:
            upload, other = await begin(world, http), await begin(world, http, "other")
            assert code(await upload.put(2 * mib + b"x")) == (413, "RequestBodyTooLarge")
        async with device(world) as http:
            upload.http = other.http = http
            assert (await upload.put_block("a", mib)).status == 201
            assert (await upload.put_block("b", mib)).status == 201
            assert (await upload.put_block("b", mib)).status == 201
            assert code(await upload.put_block("c", b"x")) == (413, "RequestBodyTooLarge")
        async with device(world) as http:
            upload.http = other.http = http
            assert code(await upload.commit("a", "b", "a")) == (413, "RequestBodyTooLarge")
        async with device(world) as http:
            upload.http = other.http = http
            assert (await other.put_block("a", mib)).status == 201
            assert code(await other.put_block("b", b"x")) == (503, "ServerBusy")
        async with device(world) as http:
            upload.http = other.http = http
            assert (await upload.commit("b", "a")).status == 201
            assert (await other.put_block("b", b"x")).status == 201
        assert {name: len(body) for name, body in (await stored(world)).items()} == {"pump-01/log.txt": 2 * len(mib)}


async def test_a_body_that_never_comes_leaves_nothing(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        http.say(f"PUT {upload.target} HTTP/1.1\r\nHost: localhost\r\n{BLOCK_BLOB}\r\nContent-Length: 5000000\r\n\r\n")
        http.say(b"x" * 2_000_000)

        def is_on_disk(least: int) -> bool:
            return sum(path.stat().st_size for path in waiting_on_disk(world)) >= least

        await eventually(partial(is_on_disk, 1024 * 1024))
        # A piece within its time is enough.
        for sent in (1, 2):
            world.turn(20)
            http.say(b"x" * 1_100_000)
            await eventually(partial(is_on_disk, (1 + sent) * 1024 * 1024))

        def gave_up() -> bool:
            world.turn(31)
            return waiting_on_disk(world) == []

        await eventually(gave_up)
        assert await http.is_closed()
    assert await stored(world) == {}


async def has_read(world: World, size: int) -> None:
    """Until the hub has read so many bytes of the file that is being put."""

    def is_there() -> bool:
        streams = [stream._handler for door in world.app.listeners.doors for stream in door.streams]
        return size == sum(each._size for each in streams if isinstance(each, HTTPStream) and each._is_large)

    await eventually(is_there)


async def test_a_body_that_drips_does_not_keep_its_place(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        http.say(f"PUT {upload.target} HTTP/1.1\r\nHost: localhost\r\n{BLOCK_BLOB}\r\nContent-Length: 5000000\r\n\r\n")
        for size in range(1, 4):
            http.say(b"x")
            await has_read(world, size)
            world.turn(9)
        world.turn(9)
        response = await http.response()
        assert response.status == 408
        assert b"500 bytes a second" in response.body
    assert await stored(world) == {}


async def test_a_slow_radio_gets_its_file_through(world: World) -> None:
    await world.create("pump-01")
    async with device(world) as http:
        upload = await begin(world, http)
        pieces, piece = 30, b"x" * 6_000
        http.say(f"PUT {upload.target} HTTP/1.1\r\nHost: localhost\r\n{BLOCK_BLOB}\r\n")
        http.say(f"Content-Length: {pieces * len(piece)}\r\n\r\n")
        for sent in range(1, pieces + 1):
            http.say(piece)
            await has_read(world, sent * len(piece))
            world.turn(10)
        assert (await http.response()).status == 201
    assert {name: len(body) for name, body in (await stored(world)).items()} == {"pump-01/log.txt": 180_000}


async def test_a_request_for_another_path_keeps_its_limit(world: World) -> None:
    async with device(world) as http:
        http.say("PUT /uploadsx/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
        assert (await http.response()).status == 413


# -- for back ends and operators ---------------------------------------------------------------------------------------


async def test_notifications_can_be_switched_off(world: World) -> None:
    await world.create("pump-01")
    owner = {"Authorization": f"Bearer {_owner(world)}"}
    async with device(world) as http:
        for on in (False, True):
            set_to = await world.http.patch("/moorage/v1/file-uploads", json={"notifications": on}, headers=owner)
            assert set_to.json() == {"notifications": on}
            upload = await begin(world, http, str(on))
            assert (await upload.put(b"x")).status == 201
            assert (await upload.end()).status == 204
    told = await notification(world)
    assert told is not None and told["blobName"] == "pump-01/True"
    assert await notification(world) is None


async def test_the_owner_lists_and_reads_files(world: World) -> None:
    await world.create("pump-01")
    owner = {"Authorization": f"Bearer {_owner(world)}"}
    async with device(world) as http:
        for name in ("b", "a/1", "c"):
            assert (await (await begin(world, http, name)).put(name.encode())).status == 201
    page = (await world.http.get("/moorage/v1/files", params={"limit": "2"}, headers=owner)).json()
    assert [(each["name"], each["sizeInBytes"]) for each in page["files"]] == [("pump-01/a/1", 3), ("pump-01/b", 1)]
    rest = await world.http.get("/moorage/v1/files", params={"after": page["next"]}, headers=owner)
    assert [each["name"] for each in rest.json()["files"]] == ["pump-01/c"] and rest.json()["next"] == ""
    below = await world.http.get("/moorage/v1/files", params={"prefix": "pump-01/a"}, headers=owner)
    assert [each["name"] for each in below.json()["files"]] == ["pump-01/a/1"]
    assert (await world.http.get("/moorage/v1/files/pump-01/a/1", headers=owner)).content == b"a/1"
    missing = await world.http.get("/moorage/v1/files/pump-01/zzz", headers=owner)
    assert missing.status_code == 404 and missing.json()["error"]["reason"] == "file.unknown"
    for name in ("x" * 2000, "a//b", "%2e%2e/secrets.key", "a/%00", "pump-01"):
        odd = await world.http.get(f"/moorage/v1/files/{name}", headers=owner)
        assert odd.status_code == 404, name
    for prefix in ("../", "a//b", "pump-01/b/"):
        none = await world.http.get("/moorage/v1/files", params={"prefix": prefix}, headers=owner)
        assert none.json() == {"files": [], "next": ""}, prefix
    for path in ("/moorage/v1/files", "/moorage/v1/files/pump-01/b"):
        assert (await world.http.get(path)).status_code == 401


def _owner(world: World) -> str:
    key = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
    return key.mint("api", timedelta(hours=1), world.clock.now()).reveal()
