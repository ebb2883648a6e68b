"""Files that devices upload (contract/devices.md 5): begun, put there in blocks or at once, ended.

    begin ──► correlation id and a signature ──► put_block ... commit ──► the file is in the store
                                             └─► put ────────────────────┘
    finish ◄── the device says how it went ── a file notification, where they are switched on

A signature opens one blob for writing, and nothing else, until the upload ends or expires, and as long as what it was
begun with stands (`hub/upload_standing.py`); only its digest is kept. What is put there waits in blocks on this machine
and becomes a file by one write of the store, so nobody ever sees half a file, whatever the store is. Of what is never
committed nothing is left an hour or so later.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple, Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

from moorage.clock import Clock
from moorage.errors import Conflict, Invalid, NotFound, TooLarge, Unauthenticated
from moorage.events import Event
from moorage.hub.held_queue import HeldQueue, add_record
from moorage.hub.upload_model import (
    BegunBy,
    BlockArea,
    FileNotification,
    FileStore,
    FileUpload,
    StoredFile,
    UploadLimits,
    UploadTables,
    check_file_name,
    digest_of,
    wrong_with,
)
from moorage.identities.resources import ResourceTables
from moorage.ids import DeviceId, HubId, Secret
from moorage.store import Store

__all__ = [
    "MAX_BLOCKS",
    "MAX_OPEN",
    "Begun",
    "FileNotificationService",
    "Standing",
    "UploadService",
    "audit_notifications",
    "notifications_on",
    "switch_notifications",
]

audit = logging.getLogger("moorage.audit")

# contract/devices.md 9.2
MAX_OPEN: Final = 10
# As Azure's block blobs have it.
MAX_BLOCKS: Final = 50_000
# What is put there in one piece is one block, which no block id of a device can name: those are not empty.
_WHOLE: Final = b""
_SWITCH: Final = "file_upload_notifications"
# An upload that expired is remembered for so long, to say so to a device that comes late.
_REMEMBERED: Final = timedelta(hours=1)
_SWEPT_AT_ONCE: Final = 200
# Files that are written to the store at the same time.
_COMMITS: Final = 4


class Begun(NamedTuple):
    """`signature` is said once, to the device, and not kept."""

    upload: FileUpload
    signature: Secret


class Standing(Protocol):
    """Whether what an upload was begun with still stands; `hub.upload_standing.UploadStanding` is one."""

    def why_ended(self, upload: FileUpload) -> str | None:
        """A sentence; None as long as it stands."""


class FileNotificationService(HeldQueue[UploadTables, FileNotification]):
    """Hands notifications out; a lost lock is `file_notification.lock_lost`."""

    def __init__(self, store: Store[UploadTables], clock: Clock) -> None:
        super().__init__(
            store,
            clock,
            lambda tables: tables.file_notifications,
            what="file notifications",
            reason="file_notification.lock_lost",
        )


class UploadService:
    """One hub's uploads. `uri_of` says where a blob is, for notifications."""

    def __init__(
        self,
        hub: HubId,
        store: Store[UploadTables],
        files: FileStore,
        blocks: BlockArea,
        clock: Clock,
        limits: UploadLimits,
        uri_of: Callable[[str], str],
        standing: Standing,
    ) -> None:
        self.hub = hub
        self.limits = limits
        self._store = store
        self._files = files
        self._blocks = blocks
        self._clock = clock
        self._uri_of = uri_of
        self._standing = standing
        # One commit of an upload at a time: a client that did not hear of the first sends it again.
        self._committing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(_COMMITS)

    # -- for devices ---------------------------------------------------------------------------------------------------

    async def begin(self, device_id: DeviceId, name: str, begun_by: BegunBy) -> Begun:
        """`begun_by` is what the device has come in by just now, with no await since.

        Raises `Invalid` (`upload.blob_name`) and `TooLarge` (`upload.too_many`).
        """
        check_file_name(name)
        now = self._clock.now()
        signature = Secret(secrets.token_urlsafe(32))
        upload = FileUpload(
            hub=self.hub,
            correlation_id=str(uuid4()),
            device_id=device_id,
            blob_name=f"{device_id}/{name}",
            signature=digest_of(signature),
            created=now,
            expires=now + self.limits.lifetime,
            begun_by=begun_by,
        )

        def work(tables: UploadTables) -> None:
            open_ones = tables.file_uploads.count(self.hub, device_id, now)
            if open_ones >= MAX_OPEN:
                raise TooLarge(
                    "upload.too_many",
                    f"'{device_id}' has {open_ones} uploads open, at most {MAX_OPEN} are allowed; say of each how it "
                    "ended",
                )
            tables.file_uploads.put(upload)

        await self._store.write(work)
        return Begun(upload, signature)

    async def finish(self, device_id: DeviceId, correlation_id: str, *, is_success: bool) -> None:
        """The upload has ended, well or not, and its correlation id with it.

        Raises `Invalid`: `upload.unknown`, `upload.expired`; `upload.no_blob` for one that went well and left nothing.
        """
        now = self._clock.now()

        def work(tables: UploadTables) -> None:
            upload = tables.file_uploads.find(self.hub, correlation_id)
            if upload is None or upload.device_id != device_id:
                raise Invalid(
                    "upload.unknown",
                    f"'{device_id}' has no upload with the correlation id {correlation_id[:64]!r}; each is good once",
                )
            if upload.expires <= now:
                raise Invalid("upload.expired", f"the upload expired at {upload.expires.isoformat()}")
            if is_success:
                if upload.size is None or upload.committed is None:
                    raise Invalid("upload.no_blob", f"nothing was put at {upload.blob_name[:80]!r}")
                if notifications_on(tables, self.hub):
                    self._notify(tables, upload, upload.size)
            tables.file_uploads.delete(self.hub, correlation_id)

        await self._store.write(work)
        await self._blocks.drop(correlation_id)

    def _notify(self, tables: UploadTables, upload: FileUpload, size: int) -> None:
        now = self._clock.now()
        notification = FileNotification(
            hub=self.hub,
            sequence=tables.file_notifications.next_sequence(self.hub),
            device_id=upload.device_id,
            blob_uri=self._uri_of(upload.blob_name),
            blob_name=upload.blob_name,
            size=size,
            updated=upload.committed or now,
            recorded=now,
        )
        add_record(tables.file_notifications, notification, now)
        data = {"sequence": notification.sequence}
        tables.outbox.emit(Event("file_notification.waiting", self.hub, str(upload.device_id), data))

    # -- for whoever holds a signature ---------------------------------------------------------------------------------

    def authorize(self, blob_name: str, signature: Secret) -> FileUpload:
        """The upload that the signature opens, if it is for this blob.

        Raises `Unauthenticated` (`upload.signature`), which says the same of everything that is wrong.
        """
        tables = self._store.read()
        upload = tables.file_uploads.find_signed(self.hub, digest_of(signature))
        if upload is None or upload.blob_name != blob_name:
            raise Unauthenticated("upload.signature", f"the signature does not open {blob_name[:80]!r}")
        if upload.expires <= self._clock.now():
            raise Unauthenticated("upload.signature", f"the signature expired at {upload.expires.isoformat()}")
        self._check_stands(upload)
        return upload

    def _check_stands(self, upload: FileUpload) -> None:
        why = self._standing.why_ended(upload)
        if why is not None:
            raise Unauthenticated("upload.signature", why)

    async def put(
        self, upload: FileUpload, pieces: AsyncIterator[bytes], *, md5: bytes | None = None, is_new: bool = False
    ) -> FileUpload:
        """Make the file at once. As `put_block` and `commit`; with `is_new` also `Conflict` (`upload.exists`)."""
        await self._check_new(upload, is_new)
        await self._blocks.write(upload.correlation_id, _WHOLE, pieces, md5=md5)
        return await self._commit(upload, [_WHOLE], str(uuid4()))

    async def put_block(
        self, upload: FileUpload, block: bytes, pieces: AsyncIterator[bytes], *, md5: bytes | None = None
    ) -> None:
        """Keep a block until it is committed. Raises as `BlockArea.write`."""
        await self._blocks.write(upload.correlation_id, block, pieces, md5=md5)

    async def commit(self, upload: FileUpload, blocks: Sequence[bytes], *, is_new: bool = False) -> FileUpload:
        """Make the file of these blocks, in this order; the upload as it is then. Again is as once.

        Raises `Invalid` (`upload.block_unknown`), `TooLarge` (`upload.size`, `upload.blocks`), `Conflict`
        (`upload.exists`, with `is_new`) and `Unavailable` (`file.store`).
        """
        if len(blocks) > MAX_BLOCKS:
            raise TooLarge("upload.blocks", f"the list has {len(blocks)} blocks, at most {MAX_BLOCKS} are allowed")
        await self._check_new(upload, is_new)
        return await self._commit(upload, blocks, await asyncio.to_thread(_digest_of_list, blocks))

    async def _commit(self, upload: FileUpload, blocks: Sequence[bytes], commit_id: str) -> FileUpload:
        key = upload.correlation_id
        lock = self._committing.setdefault(key, asyncio.Lock())
        async with lock, self._places:
            stored = self._store.read().file_uploads.find(self.hub, key)
            if stored is None:
                raise Unauthenticated("upload.signature", "the upload has ended")
            try:
                size = sum(await self._blocks.sizes(key, blocks))
            except Invalid:
                # A commit takes the blocks away: this is the same once more, of a client that heard no answer.
                if stored.commit_id == commit_id:
                    return stored
                raise
            if size > self.limits.blob_bytes:
                raise TooLarge(
                    "upload.size", f"the blob has {size} bytes, at most {self.limits.blob_bytes} are allowed"
                )
            # The body may have come for long.
            self._check_stands(stored)
            await self._files.put(stored.blob_name, self._blocks.read(key, blocks))
            return await self._committed(stored, size, commit_id)

    async def _committed(self, upload: FileUpload, size: int, commit_id: str) -> FileUpload:
        after = replace(upload, size=size, committed=self._clock.now(), commit_id=commit_id)

        def work(tables: UploadTables) -> None:
            # One that ended meanwhile stays ended.
            if tables.file_uploads.find(self.hub, upload.correlation_id) is not None:
                tables.file_uploads.put(after)

        await self._store.write(work)
        await self._blocks.drop(upload.correlation_id)
        return after

    async def _check_new(self, upload: FileUpload, is_new: bool) -> None:
        if is_new and await self._files.find(upload.blob_name) is not None:
            raise Conflict("upload.exists", f"there is a file {upload.blob_name[:80]!r} already")

    # -- for operators -------------------------------------------------------------------------------------------------

    async def files(self, prefix: str, after: str, limit: int) -> list[StoredFile]:
        """As `FileStore.files`."""
        folder = prefix.rpartition("/")[0]
        if folder and wrong_with(folder) is not None:
            return []
        return await self._files.files(prefix, after, limit)

    async def find(self, name: str) -> StoredFile | None:
        """As `FileStore.find`."""
        return None if wrong_with(name) is not None else await self._files.find(name)

    async def read(self, name: str) -> tuple[StoredFile, AsyncIterator[bytes]]:
        """As `FileStore.read`."""
        if wrong_with(name) is not None:
            raise NotFound("file.unknown", f"there is no file {name[:200]!r}", fix="moorage file list")
        return await self._files.read(name)

    async def delete(self, name: str, *, by: object) -> None:
        """Take a file away. Raises `NotFound` (`file.unknown`), `Unavailable` (`file.store`)."""
        if await self.find(name) is None:
            raise NotFound("file.unknown", f"there is no file {name[:200]!r}", fix="moorage file list")
        await self._files.delete(name)
        facts = {"hub": self.hub, "file": name, "by": str(by)}
        told = {"event": "file.deleted", "facts": facts}
        audit.info("file.deleted hub=%s file=%r by=%s", *facts.values(), extra=told)

    @property
    def notifies(self) -> bool:
        """Whether a file that is there is told of."""
        return notifications_on(self._store.read(), self.hub)

    async def set_notifies(self, on: bool, *, by: object) -> None:
        if await self._store.write(lambda tables: switch_notifications(tables, self.hub, on)):
            audit_notifications(self.hub, on, by=by)

    async def sweep(self) -> None:
        """Forget uploads that expired, and whatever waits for one that is not known."""
        now = self._clock.now()
        forgotten = now - _REMEMBERED

        def work(tables: UploadTables) -> None:
            for upload in tables.file_uploads.expired(self.hub, forgotten, _SWEPT_AT_ONCE):
                tables.file_uploads.delete(self.hub, upload.correlation_id)

        if self._store.read().file_uploads.expired(self.hub, forgotten, 1):
            await self._store.write(work)
        for correlation_id in await self._blocks.uploads():
            known = self._store.read().file_uploads.find(self.hub, correlation_id)
            if known is None or known.expires <= now:
                await self._blocks.drop(correlation_id)


def notifications_on(tables: ResourceTables, hub: HubId) -> bool:
    """On, until somebody switches them off: one that nobody fetches is gone after an hour."""
    return tables.settings.get(_SWITCH, hub) != "off"


def switch_notifications(tables: ResourceTables, hub: HubId, on: bool) -> bool:
    """For the transaction of a change to the hub; whether it is one."""
    if notifications_on(tables, hub) == on:
        return False
    tables.settings.put(_SWITCH, "on" if on else "off", hub)
    return True


def audit_notifications(hub: HubId, on: bool, *, by: object) -> None:
    facts = {"hub": hub, "on": on, "by": str(by)}
    event = "file_notifications.switched"
    audit.info("%s hub=%s on=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})


def _digest_of_list(blocks: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(map(_framed, blocks))).hexdigest()


def _framed(block: bytes) -> bytes:
    return len(block).to_bytes(2, "big") + block
