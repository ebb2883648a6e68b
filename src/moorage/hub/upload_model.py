"""File uploads as values, and the ports they need (contract/devices.md 5, services.md 3.5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from moorage.errors import Invalid
from moorage.hub.held_queue import HeldTable
from moorage.hub.model import HubTables
from moorage.ids import DeviceId, HubId, Secret, Thumbprint
from moorage.store import SettingTable

__all__ = [
    "MAX_BLOB_NAME",
    "BegunBy",
    "BlockArea",
    "FileNotification",
    "FileStore",
    "FileUpload",
    "StoredFile",
    "UploadLimits",
    "UploadTable",
    "UploadTables",
    "check_file_name",
    "digest_of",
    "wrong_with",
]

# As Azure has it for a blob's name; the segment is what file systems take, with room for the name of a draft.
MAX_BLOB_NAME: Final = 1024
_MAX_SEGMENT_BYTES: Final = 240
_DRAFT_OF_STORE: Final = re.compile(r"#[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class BegunBy:
    """What the credential hangs on with which an upload was begun: as `AuthenticatedIdentity` has it, to be kept.

    Attributes:
        generation: of the device, so that another one of its name is not taken for it.
        kind: how the device is registered: the name of a class of `Authentication`.
        is_token: whether it was a token, of the device's own key or of a policy's.
        policy_key: mark of the key of `policy`, in hexadecimal.
        pins: the registered thumbprints at the time, of which `pinned` was the one that matched.
        path: DER from the leaf to the anchor; empty where it was no certificate of a CA.
    """

    generation: str
    kind: str
    is_token: bool
    policy: str | None = None
    policy_key: str | None = None
    pinned: Thumbprint | None = None
    pins: tuple[Thumbprint, ...] = ()
    binding: str | None = None
    path: tuple[bytes, ...] = ()
    waivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileUpload:
    """An upload that was begun and has not ended.

    Attributes:
        blob_name: the device's id, a slash, and the name that it gave.
        signature: digest of the secret that lets its holder write the blob (`digest_of`).
        size: bytes of the blob that was put there last; None as long as there is none.
        commit_id: digest of what was put there last, so that a repeated request is known for one.
        begun_by: None for one of a version that did not keep it.
    """

    hub: HubId
    correlation_id: str
    device_id: DeviceId
    blob_name: str
    signature: str
    created: datetime
    expires: datetime
    size: int | None = None
    committed: datetime | None = None
    commit_id: str | None = None
    begun_by: BegunBy | None = None


@dataclass(frozen=True, slots=True)
class FileNotification:
    """A file is there. `updated` is when it was put there; see `hub.held_queue.Record` for the rest."""

    hub: HubId
    sequence: int
    device_id: DeviceId
    blob_uri: str
    blob_name: str
    size: int
    updated: datetime
    recorded: datetime
    deliveries: int = 0
    lock: str | None = None
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """`blob_bytes` of one file, `waiting_bytes` of all that is not committed yet, `lifetime` of an upload."""

    blob_bytes: int
    waiting_bytes: int
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store; `name` begins with its device's id."""

    name: str
    size: int
    modified: datetime


class UploadTable(Protocol):
    """Uploads by correlation id."""

    def find(self, hub: HubId, correlation_id: str) -> FileUpload | None: ...

    def find_signed(self, hub: HubId, signature: str) -> FileUpload | None: ...

    def put(self, upload: FileUpload) -> None:
        """Insert or replace."""

    def delete(self, hub: HubId, correlation_id: str) -> None: ...

    def count(self, hub: HubId, device_id: DeviceId, now: datetime) -> int:
        """Those of a device that have not expired by `now`."""

    def expired(self, hub: HubId, before: datetime, limit: int) -> list[FileUpload]:
        """Those that expired before then, the oldest first."""


class UploadTables(HubTables, Protocol):
    """What uploads need of a store."""

    @property
    def file_uploads(self) -> UploadTable: ...

    @property
    def file_notifications(self) -> HeldTable[FileNotification]: ...

    @property
    def settings(self) -> SettingTable: ...


class FileStore(Protocol):
    """Where finished files lie. Everything may raise `Unavailable` (`file.store`)."""

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        """Make the file of `pieces`, durable when this returns; whole or not at all, also when `pieces` raises.

        Raises `Conflict` (`upload.occupied`) where a file is a folder of this one, or a folder has its name.
        """

    async def find(self, name: str) -> StoredFile | None: ...

    async def files(self, prefix: str, after: str, limit: int) -> list[StoredFile]:
        """In order of their names, those that begin with `prefix` and come behind `after`."""

    async def read(self, name: str) -> tuple[StoredFile, AsyncIterator[bytes]]:
        """Raises `NotFound` (`file.unknown`)."""

    async def delete(self, name: str) -> None:
        """Also when there is none."""


class BlockArea(Protocol):
    """Where blocks wait until they are committed. `upload` is a correlation id, `block` any bytes."""

    async def write(self, upload: str, block: bytes, pieces: AsyncIterator[bytes], *, md5: bytes | None) -> None:
        """Keep a block, replacing an earlier one; nothing is left of one that is not whole.

        Raises `TooLarge` (`upload.size`, `upload.blocks`), `Unavailable` (`upload.waiting`, `file.store`) and `Invalid`
        (`upload.md5`).
        """

    async def sizes(self, upload: str, blocks: Sequence[bytes]) -> list[int]:
        """Raises `Invalid` (`upload.block_unknown`)."""

    def read(self, upload: str, blocks: Sequence[bytes]) -> AsyncIterator[bytes]:
        """Their bytes, one after the other."""

    async def drop(self, upload: str) -> None:
        """All blocks of an upload; also where there are none."""

    async def uploads(self) -> list[str]:
        """Those that have blocks."""


def digest_of(secret: Secret) -> str:
    """What is stored of a signature."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def check_file_name(name: str) -> None:
    """Whether a device may call a file so. Raises `Invalid` (`upload.blob_name`)."""
    if len(name) > MAX_BLOB_NAME - 130:
        why: str | None = f"it has {len(name)} characters, at most {MAX_BLOB_NAME - 130} are allowed"
    else:
        why = wrong_with(name)
    if why is not None:
        raise Invalid("upload.blob_name", f"{name[:80]!r} cannot be the name of a blob: {why}")


def wrong_with(name: str) -> str | None:
    """Why no file in any store can have this name; None where one can."""
    segments = name.split("/")
    if any(ord(character) < 0x20 or ord(character) == 0x7F or character == "\\" for character in name):
        return "it has a control character or a backslash"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        return "it is not Unicode"
    if any(segment in ("", ".", "..") for segment in segments):
        return "a part of it is empty, '.' or '..'"
    if _DRAFT_OF_STORE.search(name):
        return "it ends in '#' and digits, which the store has for files that are not whole yet"
    if any(len(segment.encode()) > _MAX_SEGMENT_BYTES for segment in segments) or len(name) > MAX_BLOB_NAME:
        return (
            f"a part of it has more than {_MAX_SEGMENT_BYTES} bytes, or all of it more than {MAX_BLOB_NAME} characters"
        )
    return None
