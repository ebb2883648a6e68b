"""Files of messages, in a folder or behind an object store's URL (`adapters/file_store.py`): a batch a file.

    {address}/{hub}/2030/01/31/12/05-00000000000000001234-{endpoint}.avro    the time and the place of the first message

What a file holds is what IoT Hub writes to containers: EnqueuedTimeUtc, Properties, SystemProperties and Body, as a
record of Avro (deflated) or, with the option `format=json`, as a line of JSON, where a body that is no JSON is base64.
A batch that is written again after a crash has the same name when it holds the same, so a reader sees it once; what
another endpoint writes into the same folder has another.

Folders have to lie below the one that the setting `transfer_folder` names.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from moorage.adapters.endpoints.records import Record, record_of
from moorage.adapters.file_store import ObjectFiles
from moorage.errors import Invalid
from moorage.hub.router import Outgoing
from moorage.hub.routing_model import Endpoint

__all__ = ["SCHEMES", "FileSink", "check_files"]

SCHEMES: Final = ("file", "s3", "gs", "az")
_SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Message",
    "namespace": "moorage",
    "fields": [
        {"name": "EnqueuedTimeUtc", "type": "string"},
        {"name": "Properties", "type": {"type": "map", "values": "string"}},
        {"name": "SystemProperties", "type": {"type": "map", "values": "string"}},
        {"name": "Body", "type": ["null", "bytes"]},
    ],
}


def check_files(endpoint: Endpoint, folder: Path | None) -> None:
    """Whether files may go where `endpoint` says; looks at the disk, for links.

    Raises `Invalid` (`endpoint.address`, `endpoint.folder`).
    """
    parts = urlsplit(endpoint.address.reveal())
    if parts.scheme not in SCHEMES:
        raise Invalid("endpoint.address", f"files go to file://, s3://, gs:// or az://, not {parts.scheme[:20]!r}")
    if parts.scheme != "file":
        return
    wanted = Path(unquote(parts.path)).resolve()
    if folder is None or not wanted.is_relative_to(folder.resolve()):
        raise Invalid(
            "endpoint.folder",
            f"{wanted} is not below the folder that the hub may write files to",
            fix=f"moorage up --transfer-folder {wanted.parent}"
            if folder is None
            else f"write to a place below file://{folder.resolve()}",
        )


class FileSink:
    """Port: `hub.router.Sink`. Raises as `check_files`."""

    def __init__(self, endpoint: Endpoint, folder: Path | None) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self._encode: Callable[[Sequence[Outgoing]], bytes] = (
            _json_lines if endpoint.options.get("format") == "json" else _avro
        )
        self._suffix = "json" if endpoint.options.get("format") == "json" else "avro"
        self._files: ObjectFiles | None = None

    @property
    def linger_s(self) -> float:
        return float(self._endpoint.options.get("every", "60"))

    async def deliver(self, messages: Sequence[Outgoing]) -> None:
        if self._files is None:
            await asyncio.to_thread(check_files, self._endpoint, self._folder)
            self._files = ObjectFiles(self._endpoint.address.reveal())
        name, data = await asyncio.to_thread(self._written, messages)
        await self._files.put(name, _whole(data))

    async def close(self) -> None:
        """Every file is closed when it is written."""

    def _written(self, messages: Sequence[Outgoing]) -> tuple[str, bytes]:
        first = json.loads(messages[0].document)
        day, _, time = first["enqueuedTime"].partition("T")
        hour, minute = time.split(":")[:2]
        folder = f"{first.get('hub', 'hub')}/{day.replace('-', '/')}/{hour}"
        name = f"{minute}-{max(messages[0].offset, 0):020d}-{self._endpoint.name}.{self._suffix}"
        return f"{folder}/{name}", self._encode(messages)


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _avro(messages: Sequence[Outgoing]) -> bytes:
    import fastavro

    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(_SCHEMA), map(_columns, map(record_of, messages)), codec="deflate")
    return buffer.getvalue()


def _json_lines(messages: Sequence[Outgoing]) -> bytes:
    lines = []
    for record in map(record_of, messages):
        document = record.document
        body = document["body"] if "body" in document else base64.b64encode(record.body).decode()
        lines.append(json.dumps(_columns(record) | {"Body": body}, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def _columns(record: Record) -> dict[str, Any]:
    return {
        "EnqueuedTimeUtc": record.enqueued_time,
        "Properties": record.properties,
        "SystemProperties": record.system_properties,
        "Body": record.body,
    }
