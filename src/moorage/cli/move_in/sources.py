"""Where an application is read from: its REST API, the files that an earlier run kept, or one file of a whole
application that its page exported."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx

from moorage.cli.hub_client import segment
from moorage.cli.move_in.documents import (
    FILE_KINDS,
    KINDS,
    LEFT_OUT,
    SLOTS,
    UNTOLD,
    Document,
    Finding,
    Kind,
)
from moorage.errors import Invalid, Refusal, Unauthenticated, Unavailable

__all__ = ["ApplicationSource", "FileSource", "FolderSource", "Source", "write_folder"]

STABLE: Final = "2022-07-31"
PREVIEW: Final = "2022-10-31-preview"
_PATIENCE_S: Final = 60.0
# IoT Central takes 20 calls a second (contract/central.md LIM-7) and says how long to wait.
_LONGEST_WAIT_S: Final = 60.0
_TRIES: Final = 8
_MAX_LINE_BYTES: Final = 4 * 1024 * 1024
_MAX_FILE_BYTES: Final = 64 * 1024 * 1024
# `dialects/application_file.py`, which a command line need not read.
_FORMAT: Final = "moorage application"
_VERSION: Final = 1


class Source(Protocol):
    """Items of an application, with what else belongs to them in members of the same document:

    of an enrollment group `certificates` (slot to document), of a device `attestation` and `properties`, of a device
    template `views`. `findings` are known before anything is moved; `stays_behind` is what it never tells.
    """

    @property
    def kinds(self) -> Sequence[Kind]:
        """In the order in which one needs the other."""

    @property
    def findings(self) -> Sequence[Finding]: ...

    @property
    def stays_behind(self) -> tuple[str, ...]: ...

    def items(self, kind: Kind) -> Iterator[Document]:
        """Raises `Refusal`."""


class ApplicationSource:
    """An IoT Central application, or anything that speaks its API."""

    kinds, findings, stays_behind = KINDS, (), UNTOLD

    def __init__(self, url: str, token: str, *, ca_file: Path | None = None) -> None:
        """`token` is the whole `SharedAccessSignature ...`. Raises `Invalid` (`move_in.url`)."""
        parts = urlsplit(url if "//" in url else f"https://{url}")
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
            raise Invalid("move_in.url", f"{url[:200]!r} is not the address of an application, as https://NAME.HOST is")
        self._base = f"https://{parts.netloc}"
        trust = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        self._http = httpx.Client(
            verify=trust, timeout=_PATIENCE_S, headers={"authorization": token.strip()}, follow_redirects=False
        )

    def close(self) -> None:
        self._http.close()

    def items(self, kind: Kind) -> Iterator[Document]:
        version = PREVIEW if kind.is_preview else STABLE
        url: str | None = f"{self._base}{kind.path}?api-version={version}"
        while url:
            answer = self._get(url, may_be_missing=kind.is_preview)
            if answer is None:
                return
            for item in answer["value"]:
                yield self._whole(kind, item)
            url = answer.get("nextLink")
            if url is not None and not str(url).startswith(f"{self._base}/"):
                # The token goes to nobody else.
                raise Invalid(
                    "move_in.next_link", f"{self._base} leads on to {str(url)[:200]!r}, which is another host"
                )

    def _whole(self, kind: Kind, item: Document) -> Document:
        path = f"{self._base}{kind.path}/{segment(str(item[kind.key]))}"
        match kind.name:
            case "enrollmentGroups" if (item.get("attestation") or {}).get("type") == "x509":
                slots = {slot: self._get(f"{path}/certificates/{slot}?api-version={STABLE}", True) for slot in SLOTS}
                return {**item, "certificates": {slot: each for slot, each in slots.items() if each}}
            case "devices":
                attestation = self._get(f"{path}/attestation?api-version={STABLE}", may_be_missing=True)
                properties = self._get(f"{path}/properties?api-version={STABLE}", may_be_missing=True)
                return {**item, "attestation": attestation, "properties": properties}
        return item

    def _get(self, url: str, may_be_missing: bool = False) -> Any:
        """The document, None where there is none and that may be. Waits as long as it is told to."""
        for _ in range(_TRIES):
            try:
                response = self._http.get(url)
            except httpx.HTTPError as error:
                raise Unavailable("move_in.unreachable", f"{self._base} does not answer: {error!r}") from error
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            time.sleep(_wait_s(response.headers.get("retry-after", "")))
        if response.status_code == httpx.codes.NOT_FOUND and may_be_missing:
            return None
        if response.is_success:
            return response.json()
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> Refusal:
        where = f"{self._base}{response.url.path} answered {response.status_code}"
        try:
            told = f": {response.json()['error']['message']}"
        except (ValueError, KeyError, TypeError):
            told = ""
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return Unauthenticated(
                "move_in.token",
                where + told,
                fix="make an API token with the role Administrator there, and give it with --token-file",
            )
        return Unavailable("move_in.refused", where + told)


def _wait_s(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_WAIT_S) if retry_after.isascii() and retry_after.isdigit() else 1.0


class FileSource:
    """The template of a whole application, as *Settings*, *Application* exports it.

    Raises `Invalid` (`move_in.file`).
    """

    kinds, stays_behind = FILE_KINDS, LEFT_OUT

    def __init__(self, file: Path) -> None:
        self._file = file
        with file.open("rb") as opened:
            text = opened.read(_MAX_FILE_BYTES + 1)
        if len(text) > _MAX_FILE_BYTES:
            raise Invalid("move_in.file", f"{file} is longer than {_MAX_FILE_BYTES} bytes")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Invalid("move_in.file", f"{file} is not JSON: {error}") from None
        if not isinstance(document, dict) or document.get("format") != _FORMAT or document.get("version") != _VERSION:
            raise Invalid(
                "move_in.file",
                f"{file} is no template of an application: it says neither {_FORMAT!r} nor version {_VERSION}",
            )
        self._document = document
        told = document.get("leftOut", [])
        self.findings = [
            Finding(*(str(each.get(name, ""))[:300] for name in ("kind", "name", "why")))
            for each in (told if isinstance(told, list) else [])
            if isinstance(each, dict)
        ]

    def items(self, kind: Kind) -> Iterator[Document]:
        """Raises `Invalid` (`move_in.file`)."""
        items = self._document.get(kind.name, [])
        for number, item in enumerate(items if isinstance(items, list) else [items]):
            if not isinstance(item, dict) or not isinstance(item.get(kind.key), str):
                raise Invalid(
                    "move_in.file", f"{self._file}: {kind.name}[{number}] is no JSON object with {kind.key!r}"
                )
            yield item


class FolderSource:
    """Files that `write_folder` wrote: one a kind, an item a line."""

    kinds, findings, stays_behind = KINDS, (), UNTOLD

    def __init__(self, folder: Path) -> None:
        """Raises `Invalid` (`move_in.folder`) for one that holds nothing of the kind."""
        self._folder = folder
        if not any(self._file(kind).exists() for kind in KINDS):
            names = ", ".join(self._file(kind).name for kind in KINDS[:3])
            raise Invalid("move_in.folder", f"{folder} holds none of {names}, ...; --save writes them")

    def items(self, kind: Kind) -> Iterator[Document]:
        file = self._file(kind)
        if not file.exists():
            return
        with file.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_MAX_LINE_BYTES + 1), b""), 1):
                yield _item(line, kind, f"{file}:{number}")

    def _file(self, kind: Kind) -> Path:
        return self._folder / f"{kind.name.replace('/', '.')}.jsonl"


def _item(line: bytes, kind: Kind, where: str) -> Document:
    if len(line) > _MAX_LINE_BYTES:
        raise Invalid("move_in.line", f"{where} is longer than {_MAX_LINE_BYTES} bytes")
    try:
        item = json.loads(line)
    except ValueError as error:
        raise Invalid("move_in.line", f"{where} is not JSON: {error}") from None
    if not isinstance(item, dict) or not isinstance(item.get(kind.key), str):
        raise Invalid("move_in.line", f"{where} is no JSON object with {kind.key!r}")
    return item


def write_folder(source: Source, folder: Path) -> FolderSource:
    """Keep all of it; the files hold keys and are for whoever runs this alone. Raises as `source` does."""
    from moorage.adapters.files import private_folder, write_whole

    private_folder(folder)
    for kind in KINDS:
        text = "".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in source.items(kind))
        file = folder / f"{kind.name.replace('/', '.')}.jsonl"
        if text:
            write_whole(file, text.encode())
        else:
            # Of an earlier run, when there still were some.
            file.unlink(missing_ok=True)
    return FolderSource(folder)
