"""Who may pass a route (contract/services.md 1.3; decisions T7, T11, T13)."""

from __future__ import annotations

import ipaddress
from itertools import zip_longest
from typing import Final

from starlette.requests import Request

from moorage.api.device_door import is_by_device
from moorage.api.routing import Route
from moorage.api.services import ApiServices
from moorage.attempts.model import Attempt, refused
from moorage.errors import Forbidden, Refusal, Unauthenticated
from moorage.identities.access import Principal
from moorage.identities.model import PolicyScope, Right

__all__ = ["Gatekeeper"]

_DPS_RIGHTS: Final[frozenset[Right]] = frozenset(
    {"ServiceConfig", "EnrollmentRead", "EnrollmentWrite", "RegistrationStatusRead", "RegistrationStatusWrite"}
)


class Gatekeeper:
    """Judges each request before anything else of it is read; records whom it turns away."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    def admit(self, request: Request, route: Route, segments: tuple[str, ...], tracking_id: str) -> Principal | None:
        """Who it is; None where nobody asks yet, or a device asks what is its own.

        Raises `Unauthenticated` or `Forbidden`, as `Access.authorize`.
        """
        gate = route.gate
        if gate in ("public", "device") or (gate == "local" and _is_loopback(request)):
            return None
        if route.of_device and self._services.device_door is not None and is_by_device(request):
            return None
        rights = gate if isinstance(gate, frozenset) else frozenset[Right]()
        scope: PolicyScope = "dps" if rights & _DPS_RIGHTS else "hub"
        # Paths match without case and audiences do not, so the route's own spelling is what is compared.
        parts = zip_longest(route.segments, segments, fillvalue="{")
        resource = "/".join(segment if part.startswith("{") else part for part, segment in parts)
        header = request.headers.get("authorization")
        now = self._services.clock.now()
        try:
            principal = self._services.access.authorize(header, scope, resource, rights, now, hub=self._services.hub)
        except (Unauthenticated, Forbidden) as refusal:
            self._record(request, resource, tracking_id, refusal)
            raise
        self._services.let_in(_address(request))
        return principal

    def _record(self, request: Request, resource: str, tracking_id: str, refusal: Refusal) -> None:
        attempt = Attempt(
            at=self._services.clock.now(),
            hub=self._services.hub,
            door="service",
            tracking_id=tracking_id,
            address=_address(request),
            claimed_id=f"{request.method} /{resource}"[:300],
            credential="token" if request.headers.get("authorization") else "none",
        )
        self._services.attempt_sink.record(refused(attempt, refusal))


def _address(request: Request) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else ""


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
