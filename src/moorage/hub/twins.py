"""Twins: one document an identity, written by back ends (tags, desired) and by its device (reported).

A write is a merge patch (objects merge, `null` deletes, arrays and scalars replace) or a replacement. What is written
is judged before anything is stored: the names of members, the values, the depth, and the size of what would result.
Every "no" names the member by its path.

Three counters move. Each write of a section adds 1 to that section's `$version`; each write of any part adds 1 to the
twin's own version, from which its etag is made. Writing the same value twice counts twice, as a device that was told
twice would see it. Metadata mirrors the members and says when, and for desired at which `$version`, each was written.

The functions here are plain; `TwinService` loads, decides and stores in one transaction, and tells of new desired
properties with the event `twin.desired` (contract/services.md 2.7, devices.md 2.9 and 9.2).
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from moorage.clock import Clock
from moorage.errors import Invalid, PreconditionFailed, TooLarge
from moorage.events import Event
from moorage.hub.model import Document, HubTables, Twin
from moorage.hub.notifications import tell_of_twin
from moorage.identities.registry import find_in
from moorage.ids import ETag, HubId, IdentityName
from moorage.store import Store

__all__ = [
    "MAX_DESIRED_BYTES",
    "MAX_REPORTED_BYTES",
    "MAX_TAGS_BYTES",
    "TwinChange",
    "TwinService",
    "check_section",
    "check_twin_etag",
    "device_view",
    "fresh_twin",
    "initial_twin",
    "load_twin",
    "merge_document",
    "patch_twin",
    "replace_twin",
    "report",
    "reset_twin",
    "size_of",
    "twin_etag",
    "write_twin_in",
]

# contract/services.md T-8, T-9
MAX_TAGS_BYTES: Final = 8 * 1024
MAX_DESIRED_BYTES: Final = 32 * 1024
MAX_REPORTED_BYTES: Final = 32 * 1024
_MAX_DEPTH = 10
_MAX_KEY_BYTES = 1024
_MAX_STRING_BYTES = 4 * 1024
_MIN_INTEGER = -4503599627370496
_MAX_INTEGER = 4503599627370495
# Ignored in what clients send: whole twins come back from read-modify-write (T-10).
_SYSTEM_MEMBERS = ("$metadata", "$version")
_NEVER = "0001-01-01T00:00:00Z"
_MAX_PATH_SHOWN = 160


@dataclass(frozen=True, slots=True)
class TwinChange:
    """What a back end writes. A section that is None stays as it is."""

    tags: Mapping[str, Any] | None = None
    desired: Mapping[str, Any] | None = None


def fresh_twin(hub: HubId, name: IdentityName) -> Twin:
    """The twin of an identity whose twin was never written (T-3)."""
    empty = Document(value={}, metadata={"$lastUpdated": _NEVER}, version=1)
    return Twin(hub=hub, name=name, version=1, tags={}, desired=empty, reported=empty)


def initial_twin(
    hub: HubId, name: IdentityName, *, tags: Mapping[str, Any], desired: Mapping[str, Any], now: datetime
) -> Twin:
    """A new identity's first twin, still at version 1. Raises `Invalid` and `TooLarge` as a write does."""
    twin = fresh_twin(hub, name)
    if _without_system(tags):
        twin = replace(twin, tags=_replaced_tags(tags))
    if _without_system(desired):
        document = _replaced_document(replace(twin.desired, version=0), desired, now=now)
        twin = replace(twin, desired=document)
    return twin


def reset_twin(twin: Twin, *, tags: Mapping[str, Any], desired: Mapping[str, Any], now: datetime) -> Twin:
    """`twin` with nothing but an enrollment's initial data; every version goes one on. Raises as a write does."""
    return replace(
        twin,
        version=twin.version + 1,
        tags=_replaced_tags(tags),
        desired=_replaced_document(twin.desired, desired, now=now),
        reported=Document(value={}, metadata=_stamp(now, None), version=twin.reported.version + 1),
    )


def twin_etag(twin: Twin) -> ETag:
    """Base64 of the version as eight bytes, big-endian (R-14)."""
    return ETag(base64.b64encode(struct.pack(">Q", twin.version)).decode())


def device_view(twin: Twin) -> dict[str, Any]:
    """What a device reads: both sections with their `$version`, without metadata (devices.md 2.9)."""
    return {
        "desired": {**twin.desired.value, "$version": twin.desired.version},
        "reported": {**twin.reported.value, "$version": twin.reported.version},
    }


def patch_twin(twin: Twin, change: TwinChange, *, now: datetime) -> tuple[Twin, Mapping[str, Any] | None]:
    """Merge `change`; returns the new twin, and the desired patch to push, None when desired was not written.

    A section that is empty writes nothing. Raises `Invalid` (`twin.*`) and `TooLarge` (`twin.size`).
    """
    changed = twin
    pushed: Mapping[str, Any] | None = None
    if change.tags is not None:
        tags = _without_system(_as_object(change.tags, "tags"))
        if tags:
            check_section(tags, "tags")
            merged = _merge(twin.tags, tags)
            _check_size(merged, "tags", MAX_TAGS_BYTES)
            changed = replace(changed, tags=merged)
    if change.desired is not None:
        desired = _without_system(_as_object(change.desired, "properties.desired"))
        if desired:
            document = merge_document(
                twin.desired,
                desired,
                section="properties.desired",
                limit=MAX_DESIRED_BYTES,
                now=now,
                stamp_version=True,
            )
            changed, pushed = replace(changed, desired=document), desired
    return _counted(twin, changed), pushed


def replace_twin(twin: Twin, change: TwinChange, *, now: datetime) -> tuple[Twin, Mapping[str, Any] | None]:
    """Put whole sections in place of those that `change` has (T-5); otherwise as `patch_twin`."""
    changed = twin
    pushed: Mapping[str, Any] | None = None
    if change.tags is not None:
        changed = replace(changed, tags=_replaced_tags(_as_object(change.tags, "tags")))
    if change.desired is not None:
        document = _replaced_document(twin.desired, _as_object(change.desired, "properties.desired"), now=now)
        changed, pushed = replace(changed, desired=document), document.value
    return _counted(twin, changed), pushed


def report(twin: Twin, patch: Mapping[str, Any], *, now: datetime, expected_version: int | None = None) -> Twin:
    """Merge what a device reports.

    `expected_version` is the reported `$version` the device believes in, for a conditional update.
    Raises `PreconditionFailed` (`twin.version`), `Invalid` (`twin.*`) and `TooLarge` (`twin.size`).
    """
    if expected_version is not None and expected_version != twin.reported.version:
        raise PreconditionFailed(
            "twin.version",
            f"the patch is for reported version {expected_version}, the twin is at {twin.reported.version}",
            fix="read the twin again",
        )
    members = _without_system(_as_object(patch, "properties.reported"))
    if not members:
        return twin
    document = merge_document(
        twin.reported,
        members,
        section="properties.reported",
        limit=MAX_REPORTED_BYTES,
        now=now,
        stamp_version=False,
    )
    return replace(twin, reported=document, version=twin.version + 1)


def merge_document(
    document: Document, patch: Mapping[str, Any], *, section: str, limit: int, now: datetime, stamp_version: bool
) -> Document:
    """`patch` merged into `document`, one version on.

    `section` is its path in messages, `limit` the bytes the result may take; `stamp_version` puts
    `$lastUpdatedVersion` into the metadata, as desired properties have it (T-2).
    """
    check_section(patch, section)
    version = document.version + 1
    value = _merge(document.value, patch)
    _check_size(value, section, limit)
    metadata = _merge_metadata(document.metadata, patch, _stamp(now, version if stamp_version else None))
    return Document(value=value, metadata=metadata, version=version)


def check_section(members: Mapping[str, Any], section: str) -> None:
    """Check names, values and depth of a patch or a document (T-8). `None` as a member's value means deletion.

    Never goes deeper than the limit, whatever it is given. Raises `Invalid` with the path of the offending member.
    """
    _check_members(members, section, depth=0)


def size_of(value: Any) -> int:
    """Bytes by T-9: UTF-8 of names and strings less control characters, 8 a number, 4 a boolean; `$` members free."""
    if isinstance(value, bool):
        return 4
    if isinstance(value, (int, float)):
        return 8
    if isinstance(value, str):
        return _text_size(value)
    if isinstance(value, Mapping):
        return sum(_text_size(key) + size_of(item) for key, item in value.items() if not key.startswith("$"))
    if isinstance(value, list):
        return sum(map(size_of, value))
    return 0


def _check_members(members: Mapping[str, Any], path: str, *, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Invalid("twin.depth", f"{_shown(path)} is nested deeper than {_MAX_DEPTH} levels")
    for key, value in members.items():
        _check_key(key, path)
        if value is not None:
            _check_value(value, f"{path}.{key}", depth=depth)


def _check_key(key: str, path: str) -> None:
    size = len(key.encode())
    if size > _MAX_KEY_BYTES:
        raise Invalid(
            "twin.key", f"a member's name under {_shown(path)} has {size} bytes, at most {_MAX_KEY_BYTES} are allowed"
        )
    for character in key:
        if character in ".$ " or _is_control(character):
            raise Invalid(
                "twin.key",
                f"{key[:80]!r} under {_shown(path)}: a member's name may not hold {character!r}"
                " (no control characters, '.', '$' or space)",
            )


def _check_value(value: Any, path: str, *, depth: int) -> None:
    if isinstance(value, str):
        size = len(value.encode())
        if size > _MAX_STRING_BYTES:
            raise Invalid(
                "twin.string", f"{_shown(path)} is a string of {size} bytes, at most {_MAX_STRING_BYTES} are allowed"
            )
    elif isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if not _MIN_INTEGER <= value <= _MAX_INTEGER:
            raise Invalid(
                "twin.integer",
                f"{_shown(path)} is {_shown(str(value))}, integers go from {_MIN_INTEGER} to {_MAX_INTEGER}",
            )
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise Invalid("twin.number", f"{_shown(path)} is not a finite number")
    elif isinstance(value, Mapping):
        _check_members(value, path, depth=depth + 1)
    elif isinstance(value, list):
        if depth + 1 > _MAX_DEPTH:
            raise Invalid("twin.depth", f"{_shown(path)} is nested deeper than {_MAX_DEPTH} levels")
        for index, item in enumerate(value):
            # A null deletes a member; an array is replaced as a whole and has no members to delete (T-7).
            if item is None:
                raise Invalid("twin.null", f"{_shown(path)}[{index}] is null; an array cannot hold null")
            _check_value(item, f"{path}[{index}]", depth=depth + 1)
    else:
        raise Invalid("twin.value", f"{_shown(path)} is a {type(value).__name__}, which JSON does not have")


def _check_size(value: Mapping[str, Any], section: str, limit: int) -> None:
    size = size_of(value)
    if size > limit:
        raise TooLarge("twin.size", f"{section} would take {size} bytes, at most {limit} are allowed")


def _as_object(value: Any, section: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid("twin.not_object", f"{section} is a {type(value).__name__}, it has to be a JSON object")
    return value


def _without_system(members: Mapping[str, Any]) -> Mapping[str, Any]:
    if any(key in members for key in _SYSTEM_MEMBERS):
        return {key: value for key, value in members.items() if key not in _SYSTEM_MEMBERS}
    return members


def _merge(current: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = dict(current) if isinstance(current, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merge(merged.get(key), value)
        else:
            merged[key] = value
    return merged


def _merge_metadata(current: Any, patch: Mapping[str, Any], stamp: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {**(current if isinstance(current, Mapping) else {}), **stamp}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merge_metadata(merged.get(key), value, stamp)
        else:
            merged[key] = dict(stamp)
    return merged


def _replaced_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    members = _without_system(tags)
    check_section(members, "tags")
    value = _merge({}, members)
    _check_size(value, "tags", MAX_TAGS_BYTES)
    return value


def _replaced_document(document: Document, desired: Mapping[str, Any], *, now: datetime) -> Document:
    return merge_document(
        Document(value={}, metadata={}, version=document.version),
        _without_system(desired),
        section="properties.desired",
        limit=MAX_DESIRED_BYTES,
        now=now,
        stamp_version=True,
    )


def _counted(before: Twin, after: Twin) -> Twin:
    return after if after is before else replace(after, version=before.version + 1)


def _stamp(now: datetime, version: int | None) -> dict[str, Any]:
    # Seven fractional digits, as .NET clients print and parse them.
    text = now.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "0Z"
    return {"$lastUpdated": text} if version is None else {"$lastUpdated": text, "$lastUpdatedVersion": version}


def _text_size(text: str) -> int:
    if text.isprintable():
        return len(text.encode())
    return len("".join(character for character in text if not _is_control(character)).encode())


def _is_control(character: str) -> bool:
    # C0, DEL and C1: what RFC 5234 and Unicode call control characters (category Cc).
    return character < " " or "\x7f" <= character <= "\x9f"


def _shown(path: str) -> str:
    return path if len(path) <= _MAX_PATH_SHOWN else path[:_MAX_PATH_SHOWN] + "…"


class TwinService:
    """Reads and writes twins of identities that exist.

    Every method raises `NotFound` (`device.not_found`, `module.not_found`) for a name that is not registered.
    """

    def __init__(self, store: Store[HubTables], clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # Hears, on the event loop, of each identity that connects and says which model it is.
        self.on_model: Callable[[HubId, IdentityName, str], None] | None = None

    def get(self, hub: HubId, name: IdentityName) -> Twin:
        """The committed twin."""
        return load_twin(self._store.read(), hub, name)

    async def patch(self, hub: HubId, name: IdentityName, change: TwinChange, *, if_match: ETag | None = None) -> Twin:
        """Merge a back end's change. Raises `PreconditionFailed` (`etag.stale`) when `if_match` is not current."""
        return await self._write(hub, name, change, patch_twin, if_match)

    async def replace(
        self, hub: HubId, name: IdentityName, change: TwinChange, *, if_match: ETag | None = None
    ) -> Twin:
        """Replace the sections that `change` has; otherwise as `patch`."""
        return await self._write(hub, name, change, replace_twin, if_match)

    async def report(
        self, hub: HubId, name: IdentityName, patch: Mapping[str, Any], *, expected_version: int | None = None
    ) -> int:
        """Merge what the device reports; returns the new reported `$version` once it is durable."""
        now = self._clock.now()

        def work(tables: HubTables) -> int:
            before = load_twin(tables, hub, name)
            after = report(before, patch, now=now, expected_version=expected_version)
            if after is not before:
                tables.twins.put(after)
                tell_of_twin(tables, before, after, "updateTwin", now)
            return after.reported.version

        return await self._store.write(work)

    async def set_model_id(self, hub: HubId, name: IdentityName, model_id: str | None) -> None:
        """Remember the model a device announced when it connected; no write when it is the one known."""

        def work(tables: HubTables) -> None:
            twin = load_twin(tables, hub, name)
            if twin.model_id != model_id:
                tables.twins.put(replace(twin, model_id=model_id))

        if self.get(hub, name).model_id != model_id:
            await self._store.write(work)
        if model_id is not None and self.on_model is not None:
            self.on_model(hub, name, model_id)

    async def _write(
        self,
        hub: HubId,
        name: IdentityName,
        change: TwinChange,
        decide: Callable[..., tuple[Twin, Mapping[str, Any] | None]],
        if_match: ETag | None,
    ) -> Twin:
        now = self._clock.now()

        return await self._store.write(lambda tables: write_twin_in(tables, hub, name, change, decide, now, if_match))


def write_twin_in(
    tables: HubTables,
    hub: HubId,
    name: IdentityName,
    change: TwinChange,
    decide: Callable[..., tuple[Twin, Mapping[str, Any] | None]],
    now: datetime,
    if_match: ETag | None = None,
) -> Twin:
    """`patch_twin` or `replace_twin` of a stored twin, inside a transaction; emits `twin.desired`.

    Nothing is written when it raises: `NotFound` (`device.not_found`, `module.not_found`), `PreconditionFailed`
    (`etag.stale`), and what `decide` raises.
    """
    before = load_twin(tables, hub, name)
    check_twin_etag(before, if_match)
    after, pushed = decide(before, change, now=now)
    if after is not before:
        tables.twins.put(after)
        tell_of_twin(tables, before, after, "replaceTwin" if decide is replace_twin else "updateTwin", now)
    if pushed is not None:
        tables.outbox.emit(Event("twin.desired", hub, str(name), {"patch": pushed, "version": after.desired.version}))
    return after


def load_twin(tables: HubTables, hub: HubId, name: IdentityName) -> Twin:
    """The twin, fresh where it was never written. Raises `NotFound` (`device.not_found`, `module.not_found`)."""
    twin = tables.twins.find(hub, name)
    if twin is not None:
        return twin
    find_in(tables, hub, name)
    return fresh_twin(hub, name)


def check_twin_etag(twin: Twin, if_match: ETag | None) -> None:
    """Raises `PreconditionFailed` (`etag.stale`); None fits any."""
    current = twin_etag(twin)
    if if_match is not None and if_match != current:
        raise PreconditionFailed(
            "etag.stale",
            f'the twin of \'{twin.name}\' changed since it was read: held "{if_match[:80]}", current "{current}"',
            fix="read the twin again, or send If-Match: * to overwrite",
        )
