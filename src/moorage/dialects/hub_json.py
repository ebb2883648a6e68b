"""Identities, twins and method calls in the JSON of the hub's service API (contract/services.md 2.3, 2.4, 2.7, 2.8).

Reading is as generous as the service: unknown members are ignored, numbers may come as strings (R-11), and what a
client writes back as it read it (etags, states, empty keys) changes nothing. Writing gives every member that a client
asks for, the null ones included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast, get_args

from moorage.dialects.members import check_same, get_boolean, get_object, get_text, get_whole
from moorage.dialects.times import format_time
from moorage.errors import Invalid
from moorage.hub.methods import MethodCall, MethodReply
from moorage.hub.model import Document, Twin
from moorage.hub.twins import TwinChange, twin_etag
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    NoCredential,
    Status,
)
from moorage.identities.registry import IdentityDraft
from moorage.ids import IdentityName, Secret, Thumbprint, parse_thumbprint, version_etag

__all__ = [
    "Presence",
    "authentication_json",
    "device_json",
    "identity_json",
    "method_reply_json",
    "module_json",
    "parse_identity",
    "parse_method_call",
    "parse_twin_change",
    "scope_json",
    "section_json",
    "twin_json",
]

_MAX_PARENTS = 100
_DEFAULT_RESPONSE_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether an identity is connected, since when that is so, and when it was last heard."""

    is_connected: bool = False
    changed: datetime | None = None
    last_activity: datetime | None = None


# -- identities ------------------------------------------------------------------------------------------------------


def parse_identity(name: IdentityName, body: Mapping[str, Any]) -> IdentityDraft:
    """What a PUT of `name` asks for.

    Raises `Invalid`: `body.member` naming the member that has the wrong form, `body.id` when the body names another
    identity than the path, `thumbprint.*`.
    """
    check_same(body, "deviceId", name.device_id)
    if name.module_id is not None:
        check_same(body, "moduleId", name.module_id)
    capabilities = get_object(body, "capabilities") or {}
    return IdentityDraft(
        name=name,
        authentication=_parse_authentication(get_object(body, "authentication")),
        status=_status(body),
        status_reason=get_text(body, "statusReason"),
        is_edge=None
        if capabilities is None
        else get_boolean(capabilities, "iotEdge", "capabilities.iotEdge", default=None),
        device_scope=get_text(body, "deviceScope"),
        parent_scopes=_parent_scopes(body),
        managed_by=get_text(body, "managedBy"),
    )


def identity_json(identity: Identity, presence: Presence, messages: int) -> dict[str, Any]:
    """A device or a module, whichever it is. `messages` is how many wait for it."""
    if identity.name.module_id is None:
        return device_json(identity, presence, messages)
    return module_json(identity, presence, messages)


def device_json(identity: Identity, presence: Presence, messages: int) -> dict[str, Any]:
    """services.md 2.3."""
    return {
        "deviceId": identity.name.device_id,
        "generationId": identity.generation_id,
        "etag": version_etag(identity.version),
        "status": identity.status,
        "statusReason": identity.status_reason,
        "statusUpdatedTime": format_time(identity.status_updated),
        "connectionState": _connection_state(presence),
        "connectionStateUpdatedTime": format_time(presence.changed),
        "lastActivityTime": format_time(presence.last_activity),
        "cloudToDeviceMessageCount": messages,
        "authentication": authentication_json(identity.authentication),
        "capabilities": {"iotEdge": identity.is_edge},
        **scope_json(identity),
    }


def module_json(identity: Identity, presence: Presence, messages: int) -> dict[str, Any]:
    """services.md 2.4."""
    return {
        "moduleId": identity.name.module_id,
        "managedBy": identity.managed_by,
        "deviceId": identity.name.device_id,
        "generationId": identity.generation_id,
        "etag": version_etag(identity.version),
        "connectionState": _connection_state(presence),
        "connectionStateUpdatedTime": format_time(presence.changed),
        "lastActivityTime": format_time(presence.last_activity),
        "cloudToDeviceMessageCount": messages,
        "authentication": authentication_json(identity.authentication),
    }


def _parse_authentication(body: Mapping[str, Any] | None) -> Authentication | None:
    if body is None:
        return None
    keys = get_object(body, "symmetricKey", "authentication.symmetricKey") or {}
    thumbprints = get_object(body, "x509Thumbprint", "authentication.x509Thumbprint") or {}
    primary = _thumbprint(thumbprints, "primaryThumbprint")
    secondary = _thumbprint(thumbprints, "secondaryThumbprint")
    kind = get_text(body, "type", "authentication.type")
    if kind is None:
        # Clients from before the member existed say it by what they send.
        kind = "selfSigned" if primary or secondary else "sas"
    match kind.lower():
        case "sas":
            return BySharedKey(_key(keys, "primaryKey"), _key(keys, "secondaryKey"))
        case "selfsigned":
            return ByThumbprint(primary, secondary)
        case "certificateauthority":
            return ByAuthority()
        case "none":
            return NoCredential()
    raise Invalid(
        "body.member",
        f"authentication.type is {kind[:40]!r}, it has to be sas, selfSigned, certificateAuthority or none",
    )


def authentication_json(authentication: Authentication) -> dict[str, Any]:
    """All three members, those of other kinds with nulls (D-2)."""
    keys: dict[str, str | None] = {"primaryKey": None, "secondaryKey": None}
    thumbprints: dict[str, str | None] = {"primaryThumbprint": None, "secondaryThumbprint": None}
    match authentication:
        case BySharedKey():
            kind = "sas"
            keys = {
                "primaryKey": authentication.primary.reveal(),
                "secondaryKey": authentication.secondary.reveal(),
            }
        case ByThumbprint():
            kind = "selfSigned"
            thumbprints = {
                "primaryThumbprint": authentication.primary,
                "secondaryThumbprint": authentication.secondary,
            }
        case ByAuthority():
            kind = "certificateAuthority"
        case NoCredential():
            kind = "none"
    return {"symmetricKey": keys, "x509Thumbprint": thumbprints, "type": kind}


def scope_json(identity: Identity) -> dict[str, Any]:
    """The members that say where in a tree of gateways it stands; none where it stands in none."""
    # A device outside any scope has neither member on the service, and C# tells null from absent.
    if identity.device_scope is None:
        return {}
    return {"deviceScope": identity.device_scope, "parentScopes": list(identity.parent_scopes)}


def _connection_state(presence: Presence) -> str:
    return "Connected" if presence.is_connected else "Disconnected"


def _status(body: Mapping[str, Any]) -> Status | None:
    text = get_text(body, "status")
    if text is None:
        return None
    if text.lower() not in get_args(Status):
        raise Invalid("body.member", f"status is {text[:40]!r}, it has to be enabled or disabled")
    return cast("Status", text.lower())


def _parent_scopes(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    scopes = body.get("parentScopes")
    if scopes is None:
        return None
    if not isinstance(scopes, list) or len(scopes) > _MAX_PARENTS or not all(isinstance(each, str) for each in scopes):
        raise Invalid("body.member", f"parentScopes has to be an array of at most {_MAX_PARENTS} strings")
    return tuple(scopes)


def _thumbprint(body: Mapping[str, Any], member: str) -> Thumbprint | None:
    text = get_text(body, member, f"authentication.x509Thumbprint.{member}")
    return parse_thumbprint(text) if text else None


def _key(body: Mapping[str, Any], member: str) -> Secret:
    return Secret(get_text(body, member, f"authentication.symmetricKey.{member}") or "")


# -- twins -----------------------------------------------------------------------------------------------------------


def twin_json(
    twin: Twin,
    identity: Identity,
    presence: Presence,
    messages: int,
    configurations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The service's view of a twin (services.md 2.7): the identity's state, and both sections with their metadata.

    `configurations` are the statuses of those that it has (T-13).
    """
    is_module = identity.name.module_id is not None
    authentication = authentication_json(identity.authentication)
    document: dict[str, Any] = {"deviceId": identity.name.device_id}
    if is_module:
        document["moduleId"] = identity.name.module_id
    document |= {
        "etag": twin_etag(twin),
        "deviceEtag": version_etag(identity.version),
        "status": identity.status,
        "statusReason": identity.status_reason,
        "statusUpdateTime": format_time(identity.status_updated),
        "connectionState": _connection_state(presence),
        "lastActivityTime": format_time(presence.last_activity),
        "cloudToDeviceMessageCount": messages,
        "authenticationType": authentication["type"],
        "x509Thumbprint": authentication["x509Thumbprint"],
        "modelId": twin.model_id or "",
        # A twin that nobody wrote yet is at 2 with the etag of 1 (T-3).
        "version": twin.version + 1,
        "tags": twin.tags,
        "properties": {"desired": section_json(twin.desired), "reported": section_json(twin.reported)},
    }
    if not is_module:
        document["capabilities"] = {"iotEdge": identity.is_edge}
        document |= scope_json(identity)
    if configurations:
        document["configurations"] = {name: {"status": status} for name, status in configurations.items()}
    return document


def parse_twin_change(body: Mapping[str, Any]) -> TwinChange:
    """Tags and desired properties of a PATCH or PUT; everything else in it is ignored (T-5, T-10).

    Raises `Invalid` (`body.member`).
    """
    properties = get_object(body, "properties") or {}
    return TwinChange(tags=get_object(body, "tags"), desired=get_object(properties, "desired", "properties.desired"))


def section_json(document: Document) -> dict[str, Any]:
    """Desired or reported properties with their metadata and version (T-1)."""
    return {**document.value, "$metadata": document.metadata, "$version": document.version}


# -- methods ---------------------------------------------------------------------------------------------------------


def parse_method_call(body: Mapping[str, Any]) -> MethodCall:
    """services.md 2.8. Raises `Invalid` (`body.member`); the service judges name and timeouts."""
    name = get_text(body, "methodName")
    if not name:
        raise Invalid("body.member", "methodName is missing")
    # Bodies of old clients have one timeout (M-1).
    response = get_whole(body, "responseTimeoutInSeconds")
    if response is None:
        response = get_whole(body, "timeoutInSeconds")
    return MethodCall(
        method=name,
        payload=body.get("payload"),
        response_timeout_s=_DEFAULT_RESPONSE_TIMEOUT_S if response is None else response,
        connect_timeout_s=get_whole(body, "connectTimeoutInSeconds") or 0,
    )


def method_reply_json(reply: MethodReply) -> dict[str, Any]:
    return {"status": reply.status, "payload": reply.payload}
