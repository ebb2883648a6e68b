"""The registry over REST: devices, modules, statistics (contract/services.md 2.2 to 2.5)."""

from __future__ import annotations

from starlette.responses import Response

from moorage.api.problems import PiecewiseResponse, encoded_response, json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.devices import (
    DEVICE,
    DEVICE_CHANGE,
    DEVICE_STATISTICS,
    DEVICES,
    MESSAGES_PURGED,
    MODULE,
    MODULE_CHANGE,
    MODULES,
    SERVICE_STATISTICS,
)
from moorage.api.schemas.parameters import IF_MATCH
from moorage.api.schemas.words import whole
from moorage.api.services import ApiServices, identity_of
from moorage.dialects.hub_json import identity_json, parse_identity
from moorage.dialects.json_text import encode_json
from moorage.hub.messages import count_waiting
from moorage.hub.model import HubTables
from moorage.identities.access import Principal
from moorage.identities.model import Identity
from moorage.identities.registry import MAX_LISTED_DEVICES, IdentityDraft
from moorage.ids import DeviceId, IdentityName, parse_device_id, parse_etag

__all__ = ["device_routes"]

# The right to write includes reading (services.md 1.3).
_READ: Gate = frozenset({"RegistryRead", "RegistryWrite"})
_WRITE: Gate = frozenset({"RegistryWrite"})
_SERVICE: Gate = frozenset({"ServiceConnect"})
# Reading and encoding so many takes a few milliseconds of a thread that shares the interpreter with the loop.
_PIECE = 100


def device_routes(services: ApiServices) -> list[Route]:
    api = _Devices(services)
    routes = [
        Route(
            "GET",
            "/devices",
            api.list_devices,
            _READ,
            "registry",
            summary="Devices, without their modules, in the order of their ids.",
            query={"top": whole("At most so many.", least=1, most=MAX_LISTED_DEVICES)},
            answers={200: DEVICES},
        ),
        Route(
            "GET",
            "/devices/{id}/modules",
            api.list_modules,
            _READ,
            "registry",
            summary="The modules of a device.",
            answers={200: MODULES},
            of_device=True,
        ),
        Route(
            "GET",
            "/statistics/devices",
            api.device_statistics,
            _READ,
            "registry",
            summary="How many devices there are.",
            answers={200: DEVICE_STATISTICS},
        ),
        Route(
            "GET",
            "/statistics/service",
            api.service_statistics,
            _READ,
            "registry",
            summary="How many devices are connected.",
            answers={200: SERVICE_STATISTICS},
        ),
    ]
    for path, what, change, shown in (
        ("/devices/{id}", "device", DEVICE_CHANGE, DEVICE),
        ("/devices/{id}/modules/{module}", "module", MODULE_CHANGE, MODULE),
    ):
        # A device keeps its own modules (devices.md 7.2), not itself.
        of_device = what == "module"
        routes += [
            Route(
                "GET",
                path,
                api.get,
                _READ,
                "registry",
                summary=f"One {what}.",
                answers={200: shown},
                of_device=of_device,
            ),
            Route(
                "PUT",
                path,
                api.put,
                _WRITE,
                "registry",
                summary=f"Create a {what}, or with If-Match change it.",
                headers=(IF_MATCH,),
                body=change,
                answers={200: shown},
                of_device=of_device,
            ),
            Route(
                "DELETE",
                path,
                api.delete,
                _WRITE,
                "registry",
                summary=f"Delete a {what} and all that belongs to it.",
                headers=(IF_MATCH,),
                answers={204: None},
                of_device=of_device,
            ),
            Route(
                "DELETE",
                f"{path}/commands",
                api.purge,
                _SERVICE,
                "registry",
                summary=f"Drop the cloud-to-device messages that wait for a {what}.",
                answers={200: MESSAGES_PURGED},
            ),
        ]
    return routes


class _Devices:
    def __init__(self, services: ApiServices) -> None:
        self._services = services

    async def get(self, call: Call) -> Response:
        self._asking(call)
        identity = self._services.registry.get(self._services.hub, identity_of(call))
        return self._answer(identity)

    async def put(self, call: Call) -> Response:
        """Create without If-Match, update with it (R-7); 200 either way."""
        services, by = self._services, self._asking(call)
        draft = parse_identity(identity_of(call), await call.json_object())
        if call.principal is None:
            # Whatever else there is of a module is an operator's to say.
            draft = IdentityDraft(draft.name, draft.authentication, managed_by=draft.managed_by)
        if_match = call.request.headers.get("if-match")
        now = services.clock.now()
        if if_match is None:
            return self._answer(await services.registry.create(services.hub, draft, now, by=by))
        return self._answer(
            await services.registry.update(services.hub, draft, now, if_match=parse_etag(if_match), by=by),
        )

    async def delete(self, call: Call) -> Response:
        services, by = self._services, self._asking(call)
        if_match = parse_etag(call.request.headers.get("if-match"))
        await services.registry.delete(services.hub, identity_of(call), if_match=if_match, by=by)
        return Response(status_code=204)

    async def purge(self, call: Call) -> Response:
        services, name = self._services, identity_of(call)
        purged = await services.messages.purge(services.hub, name)
        return json_response(
            {"totalMessagesPurged": purged, "deviceId": name.device_id, "moduleId": name.module_id},
        )

    async def list_devices(self, call: Call) -> Response:
        """Read, encoded and sent in pieces, so that the loop has its turn between them (decisions S8)."""
        limit = call.count("top", default=MAX_LISTED_DEVICES, least=1, most=MAX_LISTED_DEVICES)
        pieces: list[bytes] = []
        count = 0
        after: DeviceId | None = None
        while count < limit:
            last, piece = await self._piece(min(_PIECE, limit - count), after)
            if piece:
                pieces.append((b"," if pieces else b"[") + b",".join(piece))
            count += len(piece)
            if len(piece) < _PIECE:
                break
            after = last
        return PiecewiseResponse([*pieces, b"]" if pieces else b"[]"])

    async def list_modules(self, call: Call) -> Response:
        self._asking(call)
        device_id, hub = parse_device_id(call.path["id"]), self._services.hub
        self._services.registry.get(hub, IdentityName(device_id))
        parts = await self._services.store.scan(
            lambda tables: self._encode(tables, tables.identities.list_modules(hub, device_id))
        )
        return encoded_response(b"[" + b",".join(parts) + b"]")

    async def device_statistics(self, call: Call) -> Response:
        total, enabled = await self._services.registry.count_devices(self._services.hub)
        return json_response(
            {"totalDeviceCount": total, "enabledDeviceCount": enabled, "disabledDeviceCount": total - enabled}
        )

    async def service_statistics(self, call: Call) -> Response:
        return json_response({"connectedDeviceCount": self._services.presence.count(self._services.hub)})

    def _asking(self, call: Call) -> Principal | str:
        """Who asks, for the audit log: a back end, or the device of the path, whose credential is judged here.

        Raises:
            Unauthenticated: as `DeviceDoor.admit`.
            Exhausted: `throttle.exceeded`.
        """
        services = self._services
        if call.principal is not None or services.device_door is None:
            return call.principal or ""
        who = services.device_door.admit(call, IdentityName(parse_device_id(call.path["id"])))
        services.throttles.take(services.hub, "registry", services.clock.monotonic())
        return f"device:{who.identity.name}"

    def _answer(self, identity: Identity) -> Response:
        services = self._services
        messages = services.messages.count(services.hub, identity.name)
        return json_response(identity_json(identity, services.presence.of(services.hub, identity.name), messages))

    async def _piece(self, limit: int, after: DeviceId | None) -> tuple[DeviceId | None, list[bytes]]:
        """The id of the last device, and each one encoded."""

        def work(tables: HubTables) -> tuple[DeviceId | None, list[bytes]]:
            devices = tables.identities.list_devices(self._services.hub, limit, after)
            return (devices[-1].name.device_id if devices else None), self._encode(tables, devices)

        return await self._services.store.scan(work)

    def _encode(self, tables: HubTables, identities: list[Identity]) -> list[bytes]:
        services, now = self._services, self._services.clock.now()
        return [
            encode_json(
                identity_json(
                    identity,
                    services.presence.of(services.hub, identity.name),
                    count_waiting(tables, services.hub, identity.name, now),
                )
            )
            for identity in identities
        ]
