"""A row of the table of identities as an `Identity`, for the registry and for queries alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from moorage.adapters.sqlite import schema
from moorage.adapters.sqlite.values import from_json, from_micros, maybe_from_micros
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    NoCredential,
)
from moorage.ids import HubId, IdentityName, Secret

__all__ = ["IDENTITY_KEY", "IDENTITY_REST", "identity_of"]

IDENTITY_KEY: Final = ("hub_id", "device_id", "module_id")
# What a row says beside its key, in the order in which `identity_of` takes it.
IDENTITY_REST: Final = [column for column in schema.identities.c if column.name not in IDENTITY_KEY]


def identity_of(
    hub: HubId,
    name: IdentityName,
    rest: Iterable[Any],
    keys: Callable[[HubId, IdentityName, bytes], tuple[Secret, Secret]],
) -> Identity:
    """`rest` are the values of `IDENTITY_REST`; `keys` makes the primary and the secondary of what is sealed."""
    (
        generation_id,
        version,
        status,
        status_reason,
        status_updated,
        kind,
        primary,
        secondary,
        group,
        sealed,
        is_edge,
        device_scope,
        parent_scopes,
        managed_by,
        created,
    ) = rest
    authentication: Authentication
    if kind == "thumbprint":
        authentication = ByThumbprint(primary, secondary)
    elif kind == "authority":
        authentication = ByAuthority(group)
    elif kind == "sas":
        authentication = BySharedKey(*keys(hub, name, sealed))
    else:
        authentication = NoCredential()
    return Identity(
        hub,
        name,
        generation_id,
        version,
        authentication,
        from_micros(created),
        status,
        status_reason,
        maybe_from_micros(status_updated),
        is_edge == 1,
        device_scope,
        tuple(from_json(parent_scopes)) if parent_scopes else (),
        managed_by,
    )
