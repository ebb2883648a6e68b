"""Configurations and twins for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from moorage.hub.configuration_model import Configuration, ConfigurationId
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, ModuleId

__all__ = ["NOW", "configuration", "named"]

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def named(text: str) -> IdentityName:
    """`d` or `d/m`."""
    device, slash, module = text.partition("/")
    return IdentityName(DeviceId(device), ModuleId(module) if slash else None)


def configuration(
    name: str,
    content: dict[str, Any] | None = None,
    *,
    condition: str = "*",
    priority: int = 0,
    age_s: int = 0,
    metrics: dict[str, str] | None = None,
) -> Configuration:
    """`content` is that of devices unless it says otherwise."""
    content = {"properties.desired.by": name} if content is None else content
    is_whole = content.keys() & {"deviceContent", "moduleContent", "modulesContent"}
    made = NOW - timedelta(seconds=age_s)
    return Configuration(
        hub=DEFAULT_HUB,
        id=ConfigurationId(name),
        version=1,
        schema_version="1.0",
        content=content if is_whole else {"deviceContent": content},
        target_condition=condition,
        priority=priority,
        labels={},
        metrics=metrics or {},
        created=made,
        updated=made,
    )
