"""Files behind every kind of URL: the same in a folder, in memory, and in requests as S3 and Azure read them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from moorage.adapters.block_folder import BlockFolder
from moorage.adapters.file_store import ObjectFiles
from moorage.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable

MIB = 1024 * 1024


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise Unavailable("file.store", "a block could not be read")


async def content(files: ObjectFiles, name: str) -> bytes:
    _, stream = await files.read(name)
    return b"".join([piece async for piece in stream])


@pytest.fixture(params=["file", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectFiles:
    return ObjectFiles((tmp_path / "kept").as_uri() if request.param == "file" else "memory:///")


async def test_what_was_put_is_found_listed_and_read(files: ObjectFiles) -> None:
    large = [bytes([number]) * MIB for number in range(20)]
    await files.put("pump/large.bin", pieces(*large))
    await files.put("pump/a b%#?ü.txt", pieces(b"odd"))
    await files.put("pump/empty", pieces())
    await files.put("other/x", pieces(b"x"))
    assert await content(files, "pump/large.bin") == b"".join(large)
    assert await content(files, "pump/a b%#?ü.txt") == b"odd"
    assert await content(files, "pump/empty") == b""
    found = await files.find("pump/large.bin")
    assert found is not None and found.size == 20 * MIB
    assert await files.find("pump/none") is None
    with pytest.raises(NotFound):
        await files.read("pump/none")
    names = [each.name for each in await files.files("", "", 10)]
    assert names == ["other/x", "pump/a b%#?ü.txt", "pump/empty", "pump/large.bin"]
    assert [each.name for each in await files.files("pump/", "", 2)] == names[1:3]
    assert [each.name for each in await files.files("pump/", names[2], 2)] == names[3:]
    assert [each.name for each in await files.files("pump/la", "", 9)] == names[3:]
    await files.put("pump/large.bin", pieces(b"small"))
    assert await content(files, "pump/large.bin") == b"small"
    await files.delete("pump/large.bin")
    await files.delete("pump/large.bin")
    assert [each.name for each in await files.files("pump/", "", 9)] == names[1:3]


@pytest.mark.parametrize("before", [b"", b"x" * 9 * MIB], ids=["small", "in parts"])
async def test_half_a_file_is_never_there(files: ObjectFiles, before: bytes) -> None:
    with pytest.raises(Unavailable, match="block could not be read"):
        await files.put("pump/half", broken(before, b"y"))
    assert await files.find("pump/half") is None
    assert await files.files("", "", 10) == []


async def test_a_file_and_a_folder_cannot_have_one_name_where_there_are_folders(tmp_path: Path) -> None:
    files = ObjectFiles((tmp_path / "kept").as_uri())
    await files.put("pump/log", pieces(b"x"))
    await files.put("pump/old/log", pieces(b"x"))
    for name in ("pump/log/inside", "pump/log/deep/inside", "pump/old"):
        with pytest.raises(Conflict, match=r"upload\.occupied"):
            await files.put(name, pieces(b"x"))
    assert [each.name for each in await files.files("", "", 9)] == ["pump/log", "pump/old/log"]


async def test_what_cannot_be_written_is_said_without_a_trace(tmp_path: Path) -> None:
    root = tmp_path / "kept"
    files = ObjectFiles(root.as_uri())
    await files.put("pump/log", pieces(b"x"))
    (root / "other").symlink_to("other")
    with pytest.raises(Unavailable, match=r"could not be written: .*other/log") as refused:
        await files.put("other/log", pieces(b"x"))
    assert "\n" not in refused.value.message


class _Service(ThreadingHTTPServer):
    """Answers what a store answers to a PUT; `heard` is every request's line, credential and body."""

    daemon_threads = True

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Service
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append((f"PUT {self.path}", self.headers["authorization"] or "", body))
        self.send_response(201)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """The test says what was heard."""


@pytest.fixture
def service() -> Iterator[_Service]:
    with _Service() as service:
        thread = Thread(target=service.serve_forever)
        thread.start()
        yield service
        service.shutdown()
        thread.join()


async def test_credentials_are_the_environments(service: _Service, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"http://127.0.0.1:{service.server_port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDX",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_REGION": "plant-1",
        "AWS_ENDPOINT_URL": where,
        "AWS_ALLOW_HTTP": "true",
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "a2V5",
        "AZURE_STORAGE_ENDPOINT": where,
        "AZURE_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for url in ("s3://bucket/hub", "az://box/hub"):
        await ObjectFiles(url).put("pump/a b.txt", pieces(b"he", b"llo"))
    (s3, s3_credential, s3_body), (azure, azure_credential, azure_body) = service.heard
    assert (s3, s3_body) == ("PUT /bucket/hub/pump/a%20b.txt", b"hello")
    assert "Credential=AKIDX/" in s3_credential and "/plant-1/s3/" in s3_credential
    assert azure.endswith("/box/hub/pump/a%20b.txt") and azure_body == b"hello"
    assert azure_credential.startswith("SharedKey account:")


class _Multipart(ThreadingHTTPServer):
    """Takes files in parts as S3 does, and refuses at `fails`: a part, or what makes them one. `heard` are requests."""

    daemon_threads = True

    def __init__(self, fails: str) -> None:
        self.heard: list[str] = []
        self.fails = fails
        super().__init__(("127.0.0.1", 0), _MultipartHandler)


class _MultipartHandler(BaseHTTPRequestHandler):
    server: _Multipart
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._heard()
        if self.path.endswith("?uploads="):
            self._answer(200, b"<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>")
        elif self.server.fails == "end":
            # S3 says 200 before it knows.
            self._answer(200, b"<Error><Code>InternalError</Code><Message>no</Message></Error>")
        else:
            self._answer(200, b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")

    def do_PUT(self) -> None:
        self._heard()
        self._answer(403 if self.server.fails == "part" and "partNumber=2" in self.path else 200)

    def do_DELETE(self) -> None:
        self._heard()
        self._answer(204)

    def _heard(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.heard.append(f"{self.command} {self.path.partition('?')[2]}")

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """The test says what was heard."""


@pytest.mark.parametrize("fails", ["part", "end", "never"])
async def test_a_store_that_fails_in_the_middle_has_no_file_and_no_parts_left(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _Multipart(fails) as service:
        thread = Thread(target=service.serve_forever)
        thread.start()
        try:
            for name, value in {
                "AWS_ACCESS_KEY_ID": "AKIDX",
                "AWS_SECRET_ACCESS_KEY": "s3cret",
                "AWS_REGION": "plant-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{service.server_port}",
                "AWS_ALLOW_HTTP": "true",
            }.items():
                monkeypatch.setenv(name, value)
            large = [bytes([number]) * MIB for number in range(24)]
            if fails == "never":
                await ObjectFiles("s3://bucket/hub").put("pump/large", pieces(*large))
                assert service.heard[-1] == "POST uploadId=U"
            else:
                with pytest.raises(Unavailable, match=r"file\.store.*could not be written"):
                    await ObjectFiles("s3://bucket/hub").put("pump/large", pieces(*large))
                # Other parts may still be on their way meanwhile.
                assert "DELETE uploadId=U" in service.heard
        finally:
            service.shutdown()
            thread.join()


async def test_a_store_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(Unavailable, match="could not be opened: .*Account must be specified"):
        await ObjectFiles("az://box/hub").put("pump/a", pieces(b"x"))


async def test_blocks_are_counted_again_at_a_start(tmp_path: Path) -> None:
    first = BlockFolder(tmp_path / "blocks", most=10, most_waiting=15)
    await first.write("one", b"a", pieces(b"12345"), md5=None)
    await first.write("one", b"b", pieces(b"12345"), md5=None)
    (tmp_path / "blocks" / "one" / "left.draft").write_bytes(b"by a crash")
    again = BlockFolder(tmp_path / "blocks", most=10, most_waiting=15)
    assert await again.sizes("one", [b"b", b"a"]) == [5, 5]
    with pytest.raises(TooLarge):
        await again.write("one", b"c", pieces(b"1"), md5=None)
    await again.write("one", b"a", pieces(b"1"), md5=None)
    await again.write("two", b"a", pieces(b"123456789"), md5=None)
    with pytest.raises(Unavailable):
        await again.write("two", b"b", pieces(b"1"), md5=None)
    assert sorted(await again.uploads()) == ["one", "two"]
    await again.drop("two")
    assert b"".join([piece async for piece in again.read("one", [b"b", b"a"])]) == b"123451"
    await again.drop("one")
    await again.write("three", b"a", pieces(b"1234567890"), md5=None)
    assert [path.name for path in (tmp_path / "blocks").iterdir() if path.suffix != ".gone"] == ["three"]
    with pytest.raises(Invalid):
        await again.sizes("one", [b"a"])


async def test_a_block_whose_sender_goes_away_leaves_nothing(tmp_path: Path) -> None:
    blocks = BlockFolder(tmp_path / "blocks", most=MIB * 10, most_waiting=MIB * 10)
    may_end = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 3 * MIB
        await may_end.wait()

    writing = asyncio.ensure_future(blocks.write("one", b"a", endless(), md5=None))
    while not any(file.stat().st_size for file in (tmp_path / "blocks").rglob("*.draft")):  # noqa: ASYNC110  # a file
        await asyncio.sleep(0.002)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert [path for path in (tmp_path / "blocks").rglob("*") if path.is_file()] == []
    await blocks.write("one", b"a", pieces(b"x" * 10 * MIB), md5=None)
    assert oct(os.stat(tmp_path / "blocks").st_mode & 0o777) == "0o700"
