"""Import and export over the control plane: the jobs of `api/hub_transfers.py` under other paths (services.md 5.4)."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from moorage.api.control import place_of, resource_path
from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.control_plane import EXPORT_REQUEST, IMPORT_REQUEST, JOB, JOBS
from moorage.dialects.arm_transfers import arm_transfer_json, parse_export, parse_import
from moorage.hub.transfers import TransferService
from moorage.hub_info import HubInfo
from moorage.ids import HubId

__all__ = ["arm_transfer_routes"]


def arm_transfer_routes(transfers: TransferService, hub: HubId, info: Callable[[], HubInfo]) -> list[Route]:
    api, one = _Transfers(transfers, hub, info), resource_path("hub")
    return [
        Route(
            "POST",
            f"{one}/exportDevices",
            api.export_devices,
            "owner",
            "arm",
            summary="Export the devices to a blob.",
            body=EXPORT_REQUEST,
            answers={200: JOB},
        ),
        Route(
            "POST",
            f"{one}/importDevices",
            api.import_devices,
            "owner",
            "arm",
            summary="Import devices from a blob.",
            body=IMPORT_REQUEST,
            answers={200: JOB},
        ),
        Route("GET", f"{one}/jobs", api.list, "owner", "arm", summary="Imports and exports.", answers={200: JOBS}),
        Route("GET", f"{one}/jobs/{{id}}", api.get, "owner", "arm", summary="One of them.", answers={200: JOB}),
    ]


class _Transfers:
    def __init__(self, transfers: TransferService, hub: HubId, info: Callable[[], HubInfo]) -> None:
        self._transfers = transfers
        self._hub = hub
        self._info = info

    async def export_devices(self, call: Call) -> Response:
        self._check_place(call)
        draft = parse_export(await call.json_object())
        return json_response(arm_transfer_json(await self._transfers.create(draft, by=call.principal)))

    async def import_devices(self, call: Call) -> Response:
        self._check_place(call)
        draft = parse_import(await call.json_object())
        return json_response(arm_transfer_json(await self._transfers.create(draft, by=call.principal)))

    async def list(self, call: Call) -> Response:
        self._check_place(call)
        return json_response({"value": [arm_transfer_json(each) for each in await self._transfers.all()]})

    async def get(self, call: Call) -> Response:
        self._check_place(call)
        return json_response(arm_transfer_json(self._transfers.get(call.path["id"])))

    def _check_place(self, call: Call) -> None:
        """Raises `NotFound` (`resource.unknown`)."""
        place_of(call, "hub", self._hub, self._info())
