"""Edge manifests: what an IoT Edge device runs, kept under a name and given to devices (contract/central.md 17).

    upload or copy ──► checked, modules listed ──► kept ──► assigned: the device's own copy of it ──► its modules' twins

A manifest is the JSON that `az iot edge set-modules` takes: `modulesContent` with `$edgeAgent`. A device that is given
one gets it at once; one that was not provisioned yet gets it when it comes. Changing a manifest afterwards changes no
device: people give it again, by a job for instance (MAN-3), and may give one device another content (MAN-4).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple, NewType, Protocol

from moorage.accounts.model import Actor, OrganizationId
from moorage.automation.naming import check_id, check_name
from moorage.clock import Clock
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from moorage.hub.configuration_model import check_content
from moorage.hub.configurations import ConfigurationService
from moorage.ids import DeviceId, ETag, HubId, IdentityName, check_etag, version_etag
from moorage.store import Store

__all__ = [
    "MAX_MANIFESTS",
    "Manifest",
    "ManifestId",
    "ManifestModule",
    "ManifestTable",
    "ManifestTables",
    "Manifests",
    "check_manifest",
    "modules_of",
    "parse_manifest_id",
]

audit = logging.getLogger("moorage.audit")

ManifestId = NewType("ManifestId", str)

MAX_MANIFESTS: Final = 200
_DESIRED: Final = "properties.desired"
_AGENT: Final = "$edgeAgent"


@dataclass(frozen=True, slots=True)
class Manifest:
    hub: HubId
    manifest_id: ManifestId
    display_name: str
    content: Mapping[str, Any]
    created: datetime
    updated: datetime
    organization: OrganizationId = OrganizationId("")
    version: int = 1

    @property
    def etag(self) -> ETag:
        return version_etag(self.version)


class ManifestModule(NamedTuple):
    """A module as a reviewer reads it. What the manifest does not say is ''."""

    name: str
    image: str
    status: str
    restart_policy: str
    is_system: bool


class ManifestTable(Protocol):
    def find(self, hub: HubId, manifest_id: ManifestId) -> Manifest | None: ...

    def all(self, hub: HubId) -> list[Manifest]:
        """By their display names."""

    def names(self, hub: HubId) -> list[tuple[ManifestId, OrganizationId, str]]:
        """Ids, organisations and display names, by the names: contents are large."""

    def put(self, manifest: Manifest) -> None: ...

    def delete(self, hub: HubId, manifest_id: ManifestId) -> None: ...


class ManifestTables(Protocol):
    @property
    def manifests(self) -> ManifestTable: ...


def parse_manifest_id(text: str) -> ManifestId:
    """Raises `Invalid` (`manifest.id`)."""
    return ManifestId(check_id(text, "manifest.id"))


def check_manifest(content: Mapping[str, Any]) -> None:
    """That a device could run it. For a thread: it may have 256 KiB.

    Raises `Invalid` (`manifest.content`, `configuration.content`), `TooLarge` (`twin.size`).
    """
    modules = content.get("modulesContent")
    if not isinstance(modules, Mapping):
        raise Invalid("manifest.content", "a manifest is a JSON object with modulesContent")
    if not isinstance(modules.get(_AGENT), Mapping) or not isinstance(modules[_AGENT].get(_DESIRED), Mapping):
        raise Invalid("manifest.content", f"modulesContent has to say what {_AGENT} is to run, in {_DESIRED}")
    check_content({"modulesContent": modules})


def modules_of(content: Mapping[str, Any]) -> list[ManifestModule]:
    """What `$edgeAgent` is to run, its own modules first, then by name."""
    agent = _inside(content, "modulesContent", _AGENT, _DESIRED)
    found = [
        ManifestModule(
            name,
            str(_inside(module, "settings").get("image", "")),
            str(module.get("status", "")),
            str(module.get("restartPolicy", "")),
            is_system,
        )
        for section, is_system in (("systemModules", True), ("modules", False))
        for name, module in _inside(agent, section).items()
        if isinstance(module, Mapping)
    ]
    return sorted(found, key=lambda module: (not module.is_system, module.name))


def _inside(value: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


class Manifests:
    """One hub's."""

    def __init__(
        self, hub: HubId, store: Store[ManifestTables], configurations: ConfigurationService, clock: Clock
    ) -> None:
        self._hub = hub
        self._store = store
        self._configurations = configurations
        self._clock = clock

    def get(self, actor: Actor, manifest_id: str) -> Manifest:
        """Raises `NotFound` (`manifest.unknown`)."""
        found = self._store.read().manifests.find(self._hub, ManifestId(manifest_id))
        if found is None or not actor.sees(found.organization):
            raise NotFound("manifest.unknown", f"there is no edge manifest {manifest_id[:80]!r}")
        return found

    async def all(self, actor: Actor) -> list[Manifest]:
        """By their display names."""
        found = await self._store.scan(lambda tables: tables.manifests.all(self._hub))
        return [each for each in found if actor.sees(each.organization)]

    async def names(self, actor: Actor) -> dict[ManifestId, str]:
        """Display names by id, in the order of the names."""
        found = await self._store.scan(lambda tables: tables.manifests.names(self._hub))
        return {manifest_id: name for manifest_id, organization, name in found if actor.sees(organization)}

    async def create(
        self,
        actor: Actor,
        manifest_id: ManifestId,
        display_name: str,
        content: Mapping[str, Any],
        organization: OrganizationId | None = None,
    ) -> Manifest:
        """Raises as `check_manifest`; `Conflict` (`manifest.exists`), `TooLarge` (`manifest.too_many`), `Forbidden`."""
        now = self._clock.now()
        where = actor.organization if organization is None else organization
        _check_sees(actor, where)
        check_name(display_name, "manifest.name")
        await asyncio.to_thread(check_manifest, content)
        made = Manifest(self._hub, manifest_id, display_name.strip(), content, now, now, where)

        def work(tables: ManifestTables) -> None:
            if tables.manifests.find(self._hub, manifest_id) is not None:
                raise Conflict("manifest.exists", f"there is an edge manifest '{manifest_id}' already")
            if len(tables.manifests.names(self._hub)) >= MAX_MANIFESTS:
                raise TooLarge("manifest.too_many", f"there are {MAX_MANIFESTS} edge manifests, no more may be")
            tables.manifests.put(made)

        await self._store.write(work)
        self._tell("manifest.created", actor, made)
        return made

    async def update(
        self,
        actor: Actor,
        manifest_id: str,
        *,
        if_match: ETag | None,
        display_name: str | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Rename it or replace its content. Raises as `create`, and `PreconditionFailed` (`etag.stale`)."""
        self.get(actor, manifest_id)
        if display_name is not None:
            check_name(display_name, "manifest.name")
        if content is not None:
            await asyncio.to_thread(check_manifest, content)
        now = self._clock.now()

        def work(tables: ManifestTables) -> Manifest:
            present = tables.manifests.find(self._hub, ManifestId(manifest_id))
            if present is None:
                raise NotFound("manifest.unknown", f"there is no edge manifest {manifest_id[:80]!r}")
            check_etag(f"the edge manifest '{manifest_id}'", if_match, present.etag)
            changed = replace(
                present,
                display_name=present.display_name if display_name is None else display_name.strip(),
                content=present.content if content is None else content,
                updated=now,
                version=present.version + 1,
            )
            tables.manifests.put(changed)
            return changed

        changed = await self._store.write(work)
        self._tell("manifest.updated", actor, changed)
        return changed

    async def delete(self, actor: Actor, manifest_id: str) -> None:
        """Devices that run it go on with it. Raises `NotFound` (`manifest.unknown`)."""
        present = self.get(actor, manifest_id)
        await self._store.write(lambda tables: tables.manifests.delete(self._hub, present.manifest_id))
        self._tell("manifest.deleted", actor, present)

    async def apply(self, actor: Actor, device_id: DeviceId, content: Mapping[str, Any]) -> None:
        """Give one device this content, whosever it is; the caller has asked whether the actor sees the device.

        Raises as `ConfigurationService.deploy`.
        """
        modules = {"modulesContent": content.get("modulesContent")}
        await self._configurations.deploy(self._hub, IdentityName(device_id), modules, by=actor.name)

    def _tell(self, event: str, actor: Actor, manifest: Manifest) -> None:
        facts = {"hub": self._hub, "manifest": manifest.manifest_id, "by": actor.name}
        audit.info("%s hub=%s manifest=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts})


def _check_sees(actor: Actor, organization: OrganizationId) -> None:
    if not actor.sees(organization):
        raise Forbidden("organization.not_seen", f"you do not see the organization {organization[:60]!r}")
