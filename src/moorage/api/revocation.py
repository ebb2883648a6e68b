"""Revocation over our own REST, for the hub's owner: lists, and what is decided for whoever publishes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.revocation import CRL, CRL_ISSUER, CRL_ISSUER_CHANGE, CRL_ISSUERS
from moorage.certificates.known_revocation import KnownRevocation
from moorage.certificates.list_fetching import ListFetcher
from moorage.certificates.ocsp_asking import OcspAsker
from moorage.certificates.revocation import IssuerState, RevocationService
from moorage.certificates.revocation_model import CRLIssuerId
from moorage.clock import Clock
from moorage.dialects.revocation_json import issuer_json, parse_issuer_change
from moorage.pki.revocation_lists import MAX_LIST_BYTES

__all__ = ["RevocationParts", "is_list_path", "revocation_routes"]

_PATH: Final = "/moorage/v1/revocation"
_LISTS: Final = f"{_PATH}/lists"


@dataclass(frozen=True, slots=True)
class RevocationParts:
    """What the routes call."""

    service: RevocationService
    fetcher: ListFetcher
    asker: OcspAsker
    known: KnownRevocation
    clock: Clock


def is_list_path(raw_path: bytes) -> bool:
    """Whether whole lists come there."""
    return raw_path.rstrip(b"/").lower() == _LISTS.encode()


def revocation_routes(parts: RevocationParts) -> list[Route]:
    api, one = _Revocation(parts), f"{_PATH}/issuers/{{id}}"
    return [
        Route(
            "GET",
            f"{_PATH}/issuers",
            api.list,
            "owner",
            "own",
            summary="CAs whose revocation lists or OCSP responders are looked at.",
            answers={200: CRL_ISSUERS},
        ),
        Route(
            "POST",
            f"{_PATH}/issuers",
            api.configure,
            "owner",
            "own",
            summary="Decide for a CA: policy, URL of its list, URL of its OCSP responder. What is not named stays, and "
            "null takes it back.",
            body=CRL_ISSUER_CHANGE,
            answers={200: CRL_ISSUER},
        ),
        Route("GET", one, api.get, "owner", "own", summary="One of them.", answers={200: CRL_ISSUER}),
        Route(
            "DELETE",
            one,
            api.forget,
            "owner",
            "own",
            summary="Forget its lists and what was decided: whom they kept out may come back.",
            answers={204: None},
        ),
        Route(
            "POST",
            f"{one}/fetch",
            api.fetch,
            "owner",
            "own",
            summary="Fetch its list now from the URL that was given.",
            answers={200: CRL_ISSUER},
        ),
        Route(
            "POST",
            _LISTS,
            api.add,
            "owner",
            "own",
            summary="Take a revocation list; sessions that hang on what it revokes have ended when this is answered.",
            body=CRL,
            answers={200: CRL_ISSUER},
            max_body_bytes=MAX_LIST_BYTES,
        ),
    ]


class _Revocation:
    def __init__(self, parts: RevocationParts) -> None:
        self._parts = parts

    async def list(self, call: Call) -> Response:
        return json_response({"issuers": [self._shown(each) for each in self._parts.service.all()]})

    async def get(self, call: Call) -> Response:
        return json_response(self._shown(self._parts.service.get(_id(call))))

    async def configure(self, call: Call) -> Response:
        change = parse_issuer_change(await call.json_object())
        state = await self._parts.service.configure(
            change.certificate,
            by=str(call.principal),
            policy=change.policy,
            crl_url=change.crl_url,
            ocsp_url=change.ocsp_url,
        )
        return json_response(self._shown(state))

    async def forget(self, call: Call) -> Response:
        await self._parts.service.forget(_id(call), by=str(call.principal))
        return Response(status_code=204)

    async def fetch(self, call: Call) -> Response:
        return json_response(self._shown(await self._parts.fetcher.fetch(_id(call), by=str(call.principal))))

    async def add(self, call: Call) -> Response:
        service = self._parts.service
        async with service.turn:
            state = await service.add(await call.body(), by=str(call.principal))
        return json_response(self._shown(state))

    def _shown(self, state: IssuerState) -> dict[str, Any]:
        issuer_id, parts = state.issuer.issuer_id, self._parts
        warnings = [each.message for each in parts.known.warnings(parts.clock.now()) if each.issuer_id == issuer_id]
        return issuer_json(state, warnings, parts.asker.failures.get(issuer_id))


def _id(call: Call) -> CRLIssuerId:
    return CRLIssuerId(call.path["id"].lower())
