"""Registered CA certificates over REST, under whatever path a surface has for them (contract/services.md 5)."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call
from moorage.api.services import ApiServices
from moorage.certificates.model import Registry
from moorage.dialects.arm_json import ca_json, certificate_text, is_vouched
from moorage.errors import Invalid
from moorage.ids import ETag, parse_ca_name, parse_etag

__all__ = ["CertificateApi"]


class CertificateApi:
    """Handlers for the CAs of one collection.

    `path_of` gives the path of the resource that a call names, and refuses one that is not there. With `etag_required`
    a change without If-Match is refused; otherwise it means "whatever is there".
    """

    def __init__(
        self, services: ApiServices, registry: Registry, path_of: Callable[[Call], str], *, etag_required: bool
    ) -> None:
        self._services = services
        self._registry: Registry = registry
        self._path = path_of
        self._etag_required = etag_required

    async def list(self, call: Call) -> Response:
        path = self._path(call)
        cas = self._services.certificates.all(self._services.hub, self._registry)
        return json_response({"value": [ca_json(ca, path) for ca in cas]})

    async def get(self, call: Call) -> Response:
        path = self._path(call)
        name = parse_ca_name(call.path["name"])
        return json_response(ca_json(self._services.certificates.get(self._services.hub, self._registry, name), path))

    async def put(self, call: Call) -> Response:
        """Create without If-Match, replace with it."""
        services, path = self._services, self._path(call)
        name, body, now = parse_ca_name(call.path["name"]), await call.json_object(), services.clock.now()
        content, vouched, by = certificate_text(body), is_vouched(body), str(call.principal)
        header = call.request.headers.get("if-match")
        if header is None:
            ca = await services.certificates.upload(
                services.hub, self._registry, name, content, now, by=by, vouched=vouched
            )
        else:
            if_match = parse_etag(header)
            ca = await services.certificates.replace(
                services.hub, self._registry, name, content, now, by=by, if_match=if_match, vouched=vouched
            )
        return json_response(ca_json(ca, path))

    async def delete(self, call: Call) -> Response:
        services = self._services
        self._path(call)
        name, if_match = parse_ca_name(call.path["name"]), self._etag(call)
        await services.certificates.delete(
            services.hub, self._registry, name, by=str(call.principal), if_match=if_match
        )
        return Response(status_code=204)

    async def generate_code(self, call: Call) -> Response:
        services, path = self._services, self._path(call)
        name, if_match = parse_ca_name(call.path["name"]), self._etag(call)
        ca = await services.certificates.generate_code(
            services.hub, self._registry, name, services.clock.now(), by=str(call.principal), if_match=if_match
        )
        return json_response(ca_json(ca, path, with_code=True))

    async def verify(self, call: Call) -> Response:
        services, path = self._services, self._path(call)
        name, if_match = parse_ca_name(call.path["name"]), self._etag(call)
        proof = certificate_text(await call.json_object())
        now, by = services.clock.now(), str(call.principal)
        ca = await services.certificates.verify(
            services.hub, self._registry, name, proof, now, by=by, if_match=if_match
        )
        return json_response(ca_json(ca, path))

    def _etag(self, call: Call) -> ETag | None:
        header = call.request.headers.get("if-match")
        if header is None and self._etag_required:
            raise Invalid(
                "etag.missing", "this takes an If-Match header", fix="send the etag that a GET gives, or * for any"
            )
        return parse_etag(header)
