"""Tokens for readers of telemetry, as IoT Central hands them out (contract/services.md 7.2 N-8).

`az iot central diagnostics monitor-events` asks for them where it is told an application, and reads from the Event
Hubs-compatible endpoint then. A token is signed with the policy that its caller came by and lasts no longer than the
caller's own, so nobody gets more than they had; for the owner it is the policy with the fewest rights beside the one
that reading takes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from starlette.responses import Response

from moorage.api.problems import json_response
from moorage.api.routing import Call, Route
from moorage.api.schemas.words import map_of, members, text, whole
from moorage.clock import Clock
from moorage.errors import Conflict
from moorage.hub_info import HubInfo
from moorage.identities.model import SharedAccessPolicy
from moorage.identities.policies import Policies
from moorage.identities.sas import make_token
from moorage.ids import HubId

__all__ = ["event_token_routes"]

_LIVES: Final = timedelta(hours=1)
_TOKENS: Final = map_of(
    members(
        {
            "expiry": whole("Seconds since 1970."),
            "eventhubSasToken": members({"hostname": text(), "entityPath": text(), "sasToken": text()}),
        }
    ),
    "By the names of hubs.",
)


def event_token_routes(hub: HubId, policies: Policies, clock: Clock, info: Callable[[], HubInfo]) -> list[Route]:
    """One route, for whoever may read."""
    api = _EventTokens(hub, policies, clock, info)
    return [
        Route(
            "POST",
            "/system/iothubs/generateEventSasTokens",
            api.make,
            frozenset({"ServiceConnect"}),
            "arm",
            summary="A token with which telemetry is read as from Event Hubs, for an hour at most.",
            answers={200: _TOKENS},
        )
    ]


class _EventTokens:
    def __init__(self, hub: HubId, policies: Policies, clock: Clock, info: Callable[[], HubInfo]) -> None:
        self._hub = hub
        self._policies = policies
        self._clock = clock
        self._info = info

    async def make(self, call: Call) -> Response:
        """Raises `Conflict` (`event_tokens.useless`)."""
        info, principal = self._info(), call.principal
        assert principal is not None, "the gate asks who it is"
        if self._policies.switches(self._hub).disable_local_auth:
            raise Conflict(
                "event_tokens.useless",
                f"tokens signed with policy keys are switched off on hub '{self._hub}' (disableLocalAuth)",
                fix="moorage policy switches --disable-local-auth false",
            )
        expires = self._clock.now() + _LIVES
        if principal.expires is not None:
            expires = min(expires, principal.expires)
        policy = self._policy("" if principal.kind == "owner" else principal.name)
        token = make_token(f"sb://{info.events_host}/{info.name}", policy.primary, expires, policy.name)
        return json_response(
            {
                info.name: {
                    "expiry": int(expires.timestamp()),
                    "eventhubSasToken": {
                        "hostname": f"sb://{info.events_host}/",
                        "entityPath": info.name,
                        "sasToken": token.reveal(),
                    },
                }
            }
        )

    def _policy(self, name: str) -> SharedAccessPolicy:
        if name:
            return self._policies.get(self._hub, "hub", name)
        # There is always one: the policy of the owner stays, with all its rights.
        able = [each for each in self._policies.all(self._hub, "hub") if "ServiceConnect" in each.rights]
        return min(able, key=lambda policy: (len(policy.rights), policy.name))
