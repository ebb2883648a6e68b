"""Many identities in one request: bulk changes and new keys (contract/services.md 2.2, 2.6)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Gate, Route
from moorage.api.schemas.bulk import BULK_RESULT, ITEM, KEYS_RESULT, REGENERATION
from moorage.api.schemas.words import list_of
from moorage.api.services import ApiServices
from moorage.dialects.bulk_json import bulk_result_json, parse_item
from moorage.dialects.keys_json import parse_regeneration, regeneration_json
from moorage.errors import Invalid, Refusal
from moorage.hub.bulk import MAX_ITEMS, BulkItem, BulkService
from moorage.identities.keys import KeyService

__all__ = ["bulk_routes"]

_WRITE: Gate = frozenset({"RegistryWrite"})
# A hundred items with a twin each do not fit into what other requests may have.
_MAX_BODY_BYTES: Final = 4 * 1024 * 1024
# Parsing so many items takes about a millisecond of the loop.
_FEW = 20


def bulk_routes(services: ApiServices) -> list[Route]:
    api = _Bulk(services)
    return [
        Route(
            "POST",
            "/devices",
            api.bulk,
            _WRITE,
            "registry",
            summary="Create, change and delete many identities. Each item is whole or not at all; the others stand.",
            body=list_of(ITEM, most=MAX_ITEMS),
            answers={200: BULK_RESULT, 400: BULK_RESULT},
            max_body_bytes=_MAX_BODY_BYTES,
        ),
        Route(
            "POST",
            "/devices/keys/regenerate",
            api.regenerate,
            _WRITE,
            "registry",
            summary="Give many identities new symmetric keys: 200 all of them, 207 some, 400 none.",
            body=REGENERATION,
            answers={200: KEYS_RESULT, 207: KEYS_RESULT, 400: KEYS_RESULT},
        ),
    ]


class _Bulk:
    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._bulk = BulkService(services.store, services.clock)
        self._keys = KeyService(services.store)

    async def bulk(self, call: Call) -> Response:
        """200 when everything was done, 400 with the same body when something was not."""
        values = await call.json()
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_ITEMS:
            how_many = f"an array of {len(values)}" if isinstance(values, list) else "none"
            raise Invalid("bulk.size", f"the body has to be an array of 1 to {MAX_ITEMS} items, this is {how_many}")
        items = _parse(values) if len(values) <= _FEW else await asyncio.to_thread(_parse, values)
        rebase = call.query.get("rebase", "").lower() == "true"
        outcomes = await self._bulk.apply(self._services.hub, items, rebase=rebase, by=call.principal)
        result = bulk_result_json(values, outcomes)
        if result["isSuccessful"]:
            return json_response(result)
        return json_response(result, 400, _refused("BulkRegistryOperationFailure"))

    async def regenerate(self, call: Call) -> Response:
        services = self._services
        which, names = parse_regeneration(await call.json_object())
        now = services.clock.now()
        results = await self._keys.regenerate(services.hub, names, which, now, by=call.principal)
        failed = sum(result.refusal is not None for result in results)
        document = regeneration_json(which, results)
        if failed == len(results):
            return json_response(document, 400, _refused("BulkRegenerateDeviceKeyOperationFailure"))
        return json_response(document, 207 if failed else 200)


def _parse(values: list[Any]) -> list[BulkItem | Refusal]:
    return [_parsed(value) for value in values]


def _parsed(value: Any) -> BulkItem | Refusal:
    try:
        return parse_item(value)
    except Refusal as refusal:
        return refusal


def _refused(code: str) -> dict[str, str]:
    """The headers of an answer whose body says what was refused, item by item."""
    return {"iothub-errorcode": code, "moorage-reason": "bulk.refused"}
