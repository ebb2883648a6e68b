"""Configurations made, changed and deleted, and deployments applied to one device by hand (contract/services.md 2.10).

A configuration that is made, changed or deleted is stored together with the work that follows from it; what that does
to twins is the applier's (`hub.applier`). What a draft does not say stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from moorage.clock import Clock
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, TooLarge
from moorage.events import Event
from moorage.hub.configuration_metrics import MetricQueries
from moorage.hub.configuration_model import (
    MAX_CONFIGURATIONS,
    Configuration,
    ConfigurationId,
    ConfigurationTables,
    Kind,
    check_content,
    check_settings,
    read_condition,
)
from moorage.hub.edge import deploy_in, read_deployment, write_in
from moorage.hub.merging import apply_settings, is_same
from moorage.hub.reconcile import decide_settings
from moorage.hub.twins import load_twin
from moorage.identities.registry import find_in
from moorage.ids import ETag, HubId, IdentityName, ModuleId, version_etag
from moorage.store import Store

__all__ = ["ConfigurationDraft", "ConfigurationService", "decide_create", "decide_update"]

audit = logging.getLogger("moorage.audit")

T = TypeVar("T")

_SCHEMA_VERSION = "1.0"
_MAX_SCHEMA_VERSION = 16


@dataclass(frozen=True, slots=True)
class ConfigurationDraft:
    """What somebody wants a configuration to be; None where they did not say."""

    id: ConfigurationId
    content: Mapping[str, Any] | None = None
    target_condition: str | None = None
    priority: int | None = None
    labels: Mapping[str, str] | None = None
    metrics: Mapping[str, str] | None = None
    schema_version: str | None = None


def decide_create(hub: HubId, draft: ConfigurationDraft, now: datetime) -> Configuration:
    """Raises `Invalid` (`configuration.*`, `schema_version.length`) and `TooLarge` (`twin.size`)."""
    if draft.content is None:
        raise Invalid("configuration.content", f"configuration '{draft.id}' has no content")
    check_content(draft.content)
    return _checked(
        Configuration(
            hub=hub,
            id=draft.id,
            version=1,
            schema_version=draft.schema_version or _SCHEMA_VERSION,
            content=draft.content,
            target_condition=draft.target_condition or "",
            priority=draft.priority or 0,
            labels=draft.labels or {},
            metrics=draft.metrics or {},
            created=now,
            updated=now,
        )
    )


def decide_update(present: Configuration, draft: ConfigurationDraft, now: datetime) -> Configuration:
    """`present` as `draft` wants it, one version on.

    Raises as `decide_create`, and `Invalid` (`configuration.immutable`) for another content than the present one.
    """
    if draft.content is not None and not is_same(draft.content, present.content):
        raise Invalid(
            "configuration.immutable",
            f"the content of configuration '{present.id}' cannot change",
            fix="make another configuration with the new content and a higher priority, then delete this one",
        )
    changed = replace(
        present,
        version=present.version + 1,
        updated=now,
        target_condition=_said(draft.target_condition, present.target_condition),
        priority=_said(draft.priority, present.priority),
        labels=_said(draft.labels, present.labels),
        metrics=_said(draft.metrics, present.metrics),
        schema_version=_said(draft.schema_version, present.schema_version),
    )
    return _checked(changed)


class ConfigurationService:
    """The configurations of every hub in one store; changes are written to the audit log with `by`."""

    def __init__(self, store: Store[ConfigurationTables], queries: MetricQueries, clock: Clock) -> None:
        self._store = store
        self._queries = queries
        self._clock = clock

    def get(self, hub: HubId, configuration: ConfigurationId) -> Configuration:
        """Raises `NotFound` (`configuration.not_found`)."""
        return _find_in(self._store.read(), hub, configuration)

    async def all(self, hub: HubId) -> list[Configuration]:
        """In order of their ids."""
        return await self._store.scan(lambda tables: tables.configurations.all(hub))

    async def create(self, hub: HubId, draft: ConfigurationDraft, *, by: object = "") -> Configuration:
        """Raises as `decide_create`, for a condition or metric that is none, and:

        Conflict: `configuration.exists`.
        TooLarge: `configuration.too_many`.
        """
        # Contents can be large, and the loop has devices to serve (decisions S8).
        now = self._clock.now()
        made = await asyncio.to_thread(lambda: self._with_metrics(decide_create(hub, draft, now)))

        def work(tables: ConfigurationTables) -> Configuration:
            if tables.configurations.find(hub, made.id) is not None:
                raise Conflict(
                    "configuration.exists",
                    f"configuration '{made.id}' exists already; an update has to say so with If-Match",
                )
            if (count := tables.configurations.count(hub)) >= MAX_CONFIGURATIONS:
                raise TooLarge(
                    "configuration.too_many", f"the hub has {count} configurations, {MAX_CONFIGURATIONS} is the limit"
                )
            _put(tables, made)
            return made

        await self._store.write(work)
        _audit("created", hub, made.id, by, priority=made.priority, condition=made.target_condition)
        return made

    async def update(
        self, hub: HubId, draft: ConfigurationDraft, *, if_match: ETag | None = None, by: object = ""
    ) -> Configuration:
        """Raises as `decide_update`, for a condition or metric that is none, and:

        NotFound: `configuration.not_found`.
        PreconditionFailed: `etag.stale`.
        """
        now = self._clock.now()
        present = self.get(hub, draft.id)
        await asyncio.to_thread(lambda: self._with_metrics(decide_update(present, draft, now)))

        def work(tables: ConfigurationTables) -> Configuration:
            present = _find_in(tables, hub, draft.id)
            _check_etag(present, if_match)
            changed = decide_update(present, draft, now)
            _put(tables, changed)
            return changed

        changed = await self._store.write(work)
        _audit("updated", hub, changed.id, by, priority=changed.priority, condition=changed.target_condition)
        return changed

    async def delete(
        self, hub: HubId, configuration: ConfigurationId, *, if_match: ETag | None = None, by: object = ""
    ) -> None:
        """Raises `NotFound` (`configuration.not_found`) and `PreconditionFailed` (`etag.stale`)."""

        def work(tables: ConfigurationTables) -> None:
            _check_etag(_find_in(tables, hub, configuration), if_match)
            tables.configurations.delete(hub, configuration)
            _follow(tables, hub, configuration)

        await self._store.write(work)
        _audit("deleted", hub, configuration, by)

    async def test_queries(
        self, condition: str | None, metrics: Mapping[str, str]
    ) -> tuple[str | None, dict[str, str]]:
        """What is wrong with a target condition, None when nothing is, and with each metric that is wrong."""
        return await asyncio.to_thread(self._test_queries, condition, metrics)

    def _test_queries(self, condition: str | None, metrics: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
        kind: Kind = "module" if condition and condition.strip().lower().startswith("from") else "device"
        problem = None
        if condition is not None:
            problem = _problem(lambda: read_condition(condition, kind))
        problems = {name: _problem(partial(self._queries.check, text)) for name, text in metrics.items()}
        return problem, {name: found for name, found in problems.items() if found is not None}

    async def deploy(
        self, hub: HubId, name: IdentityName, content: Mapping[str, Any], *, by: object = ""
    ) -> list[ModuleId]:
        """Give one device `modulesContent`, `deviceContent` or both, in one transaction; its modules by that.

        Raises:
            NotFound: `device.not_found`.
            Invalid: `configuration.content`, `edge.required`.
            TooLarge: `module.too_many`, `twin.size`.
        """
        now = self._clock.now()
        modules, device = (content.get(member) for member in ("modulesContent", "deviceContent"))
        if modules is None and device is None:
            raise Invalid("configuration.content", "content for one device has modulesContent or deviceContent")
        if content.get("moduleContent") is not None:
            raise Invalid("configuration.content", "moduleContent names no module; use modulesContent")
        if modules is not None:
            await asyncio.to_thread(check_content, {"modulesContent": modules})
        wanted = None
        if device is not None:
            draft = ConfigurationDraft(ConfigurationId(""), {"deviceContent": device})
            wanted = await asyncio.to_thread(decide_create, hub, draft, now)

        def work(tables: ConfigurationTables) -> list[ModuleId]:
            identity = find_in(tables, hub, name)
            listed: list[ModuleId] = []
            with tables.savepoint():
                if wanted is not None:
                    twin = load_twin(tables, hub, name)
                    settings, _ = decide_settings([wanted])
                    write_in(tables, twin, apply_settings(twin.desired.value, settings), now)
                if modules is not None:
                    settings_of = read_deployment(modules)
                    listed = deploy_in(
                        tables, hub, identity, settings_of, now, on_top=True, may_remove=lambda module: True
                    )
            return listed

        listed = await self._store.write(work)
        facts = {"hub": hub, "device": name.device_id, "modules": list(listed), "by": str(by)}
        audit.info(
            "device.deployed hub=%s device=%s modules=%s by=%s",
            *facts.values(),
            extra={"event": "device.deployed", "facts": facts},
        )
        return listed

    def _with_metrics(self, configuration: Configuration) -> Configuration:
        """The same one, when its metrics are queries. Raises `Invalid` (`configuration.metric`)."""
        for name, text in configuration.metrics.items():
            try:
                self._queries.check(text)
            except Invalid as refusal:
                raise Invalid("configuration.metric", f"metric '{name}': {refusal.message}") from refusal
        return configuration


def _said(wanted: T | None, present: T) -> T:
    return present if wanted is None else wanted


def _checked(configuration: Configuration) -> Configuration:
    if len(configuration.schema_version) > _MAX_SCHEMA_VERSION:
        raise Invalid("configuration.schema_version", "a schema version is a text like 1.0")
    check_settings(configuration.priority, configuration.labels, configuration.metrics)
    read_condition(configuration.target_condition, configuration.kind)
    return configuration


def _put(tables: ConfigurationTables, configuration: Configuration) -> None:
    tables.configurations.put(configuration)
    _follow(tables, configuration.hub, configuration.id)


def _follow(tables: ConfigurationTables, hub: HubId, configuration: ConfigurationId) -> None:
    tables.configurations.begin_work(hub, configuration)
    tables.outbox.emit(Event("configurations.changed", hub, configuration))


def _find_in(tables: ConfigurationTables, hub: HubId, configuration: ConfigurationId) -> Configuration:
    found = tables.configurations.find(hub, configuration)
    if found is None:
        raise NotFound(
            "configuration.not_found",
            f"there is no configuration '{configuration}' on hub '{hub}'",
            fix="moorage configuration list",
        )
    return found


def _check_etag(present: Configuration, if_match: ETag | None) -> None:
    current = version_etag(present.version)
    if if_match is not None and if_match != current:
        raise PreconditionFailed(
            "etag.stale",
            f"configuration '{present.id}' changed since it was read: held {if_match[:64]!r}, current {current!r}",
            fix="read it again and repeat the change",
        )


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except Invalid as refusal:
        return refusal.message
    return None


def _audit(done: str, hub: HubId, configuration: ConfigurationId, by: object, **more: object) -> None:
    event = f"configuration.{done}"
    facts = {"hub": hub, "configuration": configuration, **more, "by": str(by)}
    words = " ".join(f"{name}=%s" for name in facts)
    audit.info(f"%s {words}", event, *facts.values(), extra={"event": event, "facts": facts})
