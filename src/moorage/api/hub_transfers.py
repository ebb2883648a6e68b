"""Import and export: the service's jobs (contract/services.md 2.11, jobs v1), and the registry as a stream of lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from starlette.responses import Response, StreamingResponse

from moorage.api.problems import json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.transfers import EXPORT_LINES, TRANSFER, TRANSFER_REQUEST
from moorage.api.schemas.words import list_of
from moorage.dialects.transfer_json import LineCodec, parse_transfer, transfer_json
from moorage.errors import Exhausted, Invalid
from moorage.hub.transfer_model import TransferTables
from moorage.hub.transfer_runs import export_page
from moorage.hub.transfers import TransferService
from moorage.ids import HubId, IdentityName
from moorage.store import Store

__all__ = ["transfer_routes"]

# services.md 1.3: reading a job takes the right to read, starting one writes devices or shows their keys.
_READ: Gate = frozenset({"RegistryRead", "RegistryWrite"})
_WRITE: Gate = frozenset({"RegistryWrite"})
_MAX_STREAMS: Final = 4
_PAGE: Final = 100


def transfer_routes(transfers: TransferService, hub: HubId, store: Store[TransferTables]) -> list[Route]:
    jobs, lines = _Jobs(transfers), _Lines(hub, store)
    return [
        Route(
            "POST",
            "/jobs/create",
            jobs.create,
            _WRITE,
            "registry",
            summary="Import devices from a blob, or export them to one; it goes on after a restart.",
            body=TRANSFER_REQUEST,
            answers={200: TRANSFER},
        ),
        Route(
            "GET",
            "/jobs",
            jobs.list,
            _READ,
            "registry",
            summary="Imports and exports of the last 30 days, the newest first.",
            answers={200: list_of(TRANSFER)},
        ),
        Route("GET", "/jobs/{id}", jobs.get, _READ, "registry", summary="One of them.", answers={200: TRANSFER}),
        Route(
            "DELETE",
            "/jobs/{id}",
            jobs.cancel,
            _WRITE,
            "registry",
            summary="Stop one where it is; what was done stays.",
            answers={204: None},
        ),
        Route(
            "GET",
            "/moorage/v1/devices:export",
            lines.export,
            "owner",
            "own",
            summary="Every device and module with its twin, a line each, as an import takes them.",
            query={"keys": "`no` leaves symmetric keys out."},
            answers={200: EXPORT_LINES},
        ),
    ]


class _Jobs:
    def __init__(self, transfers: TransferService) -> None:
        self._transfers = transfers

    async def create(self, call: Call) -> Response:
        draft = parse_transfer(await call.json_object())
        return json_response(transfer_json(await self._transfers.create(draft, by=call.principal)))

    async def list(self, call: Call) -> Response:
        return json_response([transfer_json(transfer) for transfer in await self._transfers.all()])

    async def get(self, call: Call) -> Response:
        return json_response(transfer_json(self._transfers.get(call.path["id"])))

    async def cancel(self, call: Call) -> Response:
        await self._transfers.cancel(call.path["id"], by=call.principal)
        return Response(status_code=204)


class _Lines:
    def __init__(self, hub: HubId, store: Store[TransferTables]) -> None:
        self._hub = hub
        self._store = store
        self._codec = LineCodec()
        self._streams = 0

    async def export(self, call: Call) -> Response:
        keys = call.query.get("keys", "yes").lower()
        if keys not in ("yes", "no"):
            raise Invalid("query.keys", f"keys is {keys[:40]!r}, it has to be yes or no")
        if self._streams >= _MAX_STREAMS:
            raise Exhausted("transfer.streams", f"{self._streams} exports are being read already", retry_after_s=10)
        # Each page is read at a moment of its own: a device that changes meanwhile is as it was or as it is.
        return StreamingResponse(self._pages(keys == "yes"), media_type="application/x-ndjson")

    async def _pages(self, with_keys: bool) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            after: IdentityName | None = None
            while True:
                page = partial(export_page, self._codec, self._hub, after, _PAGE, with_keys=with_keys)
                after, _, text = await self._store.scan(page)
                if after is None:
                    return
                yield text
        finally:
            self._streams -= 1
