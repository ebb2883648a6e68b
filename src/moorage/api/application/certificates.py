"""Rolls of CAs over REST: rehearsed, done, watched, undone; and where a certificate fits (contract/central.md 25)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.responses import Response

from moorage.accounts.model import Permission
from moorage.api.application.routing import own_route
from moorage.api.application.services import OwnServices
from moorage.api.calls import ActorCall, etag_in, no_content
from moorage.api.problems import encoded_response
from moorage.api.routing import Route
from moorage.api.schemas.application_certificates import (
    CHAIN,
    FIT,
    PROGRESS,
    REHEARSAL,
    REHEARSAL_DRAFT,
    ROLL,
    ROLL_DRAFT,
    ROLLS,
)
from moorage.dialects.central_groups import parse_certificate_text
from moorage.dialects.json_text import encode_json
from moorage.dialects.members import need_text
from moorage.dialects.rolls_json import fit_json, parse_place, progress_json, rehearsal_json, roll_json
from moorage.errors import NotFound
from moorage.fleet.rehearsal import Rehearsal
from moorage.fleet.roll_model import GroupSlot, HubCA, Roll
from moorage.ids import ETag, parse_ca_name, parse_enrollment_group_id, version_etag
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificates

__all__ = ["certificate_routes"]

_VIEW: Final[Permission] = "certificates.view"
_MANAGE: Final[Permission] = "certificates.manage"
# Of those left outside, or behind.
_LISTED: Final = 100
_GROUPS: Final = 500


def certificate_routes(services: OwnServices) -> list[Route]:
    api, rolls = _Certificates(services), "/certificates/rolls"
    of_group, of_ca = f"{rolls}/{{id}}", "/certificates/caRolls/{name}"
    return [
        own_route(
            "POST",
            "/certificates/rehearsal",
            api.rehearse,
            _VIEW,
            "Who would stay in, and who would be left outside, if a CA were replaced or taken away.",
            body=REHEARSAL_DRAFT,
            answers={200: REHEARSAL},
        ),
        own_route("GET", rolls, api.list, _VIEW, "The last roll of each group and CA.", answers={200: ROLLS}),
        own_route(
            "POST",
            rolls,
            api.roll,
            _MANAGE,
            "Put a certificate in the place of another, on the caller's word.",
            body=ROLL_DRAFT,
            answers={200: ROLL},
            is_guarded=True,
        ),
        *(
            route
            for one, of_what in ((of_group, "of a group"), (of_ca, "of a CA of the hub"))
            for route in (
                own_route("GET", one, api.progress, _VIEW, f"How far a roll {of_what} is.", answers={200: PROGRESS}),
                own_route(
                    "POST",
                    f"{one}/undo",
                    api.undo,
                    _MANAGE,
                    f"Put back what stood there before the last roll {of_what}.",
                    answers={204: None},
                ),
            )
        ),
        own_route(
            "POST",
            "/certificates/chains",
            api.fit,
            _VIEW,
            "Where a certificate, with those above it, fits among what devices show; nothing is kept of it.",
            body=CHAIN,
            answers={200: FIT},
        ),
    ]


class _Certificates:
    def __init__(self, services: OwnServices) -> None:
        self._services = services
        self._rolls = services.rolls

    async def rehearse(self, call: ActorCall) -> Response:
        body = await call.json_object()
        place = parse_place(body)
        certificate = await _certificate(body) if body.get("certificate") is not None else None
        await self._services.sightings.catch_up()
        rehearsal = await self._rehearsal(call, place, certificate)
        stranded = await self._rolls.devices_below(call.actor, rehearsal.binding, rehearsal.stranded_paths, _LISTED)
        return await _answer(lambda: rehearsal_json(rehearsal, stranded))

    async def _rehearsal(self, call: ActorCall, place: GroupSlot | HubCA, certificate: Certificate | None) -> Rehearsal:
        waivers = self._services.waivers()
        if isinstance(place, HubCA):
            return await self._rolls.rehearse_registered(call.actor, place.name, certificate, waivers)
        group = self._services.enrollments.get_group(place.group_id)
        return await self._rolls.rehearse(call.actor, group, place.slot, certificate, waivers)

    async def list(self, call: ActorCall) -> Response:
        groups = await self._services.enrollments.list_groups(_GROUPS)
        found = await self._rolls.all([group.group_id for group in groups])
        return await _answer(lambda: {"value": [roll_json(roll) for roll in found]})

    async def roll(self, call: ActorCall) -> Response:
        body = await call.json_object()
        place, certificate, held = parse_place(body), await _certificate(body), etag_in(call, body)
        roll = await self._roll(call, place, certificate, held)
        return await _answer(lambda: roll_json(roll))

    async def _roll(
        self, call: ActorCall, place: GroupSlot | HubCA, certificate: Certificate, held: ETag | None
    ) -> Roll:
        """What was read just now is what is changed, where the caller holds no etag."""
        by = call.actor.name
        if isinstance(place, HubCA):
            present = version_etag(self._rolls.registered_ca(place.name).version)
            return await self._rolls.roll_registered(place.name, certificate, if_match=held or present, by=by)
        present = self._services.enrollments.get_group(place.group_id).etag
        waivers = self._services.waivers()
        return await self._rolls.roll(
            place.group_id, place.slot, certificate, if_match=held or present, by=by, waivers=waivers
        )

    async def progress(self, call: ActorCall) -> Response:
        roll = self._last(call)
        await self._services.sightings.catch_up()
        progress = await self._rolls.progress(call.actor, roll)
        waiting = await self._rolls.devices_below(call.actor, roll.binding, progress.waiting_paths, _LISTED)
        return await _answer(lambda: progress_json(progress, waiting))

    async def undo(self, call: ActorCall) -> Response:
        await self._rolls.undo(self._last(call).place, by=call.actor.name)
        return no_content()

    def _last(self, call: ActorCall) -> Roll:
        """Raises `NotFound` (`roll.none`)."""
        if "name" in call.path:
            roll = self._rolls.find_registered(parse_ca_name(call.path["name"]))
        else:
            roll = self._rolls.find(parse_enrollment_group_id(call.path["id"]))
        if roll is None:
            raise NotFound("roll.none", "no roll of that group or CA is known")
        return roll

    async def fit(self, call: ActorCall) -> Response:
        body = await call.members("certificate")
        text = need_text(body, "certificate")
        certificates = await asyncio.to_thread(parse_certificates, text)
        await self._services.sightings.catch_up()
        found = await self._services.chains.fit(certificates)
        return await _answer(lambda: fit_json(found))


async def _certificate(body: Mapping[str, Any]) -> Certificate:
    return await asyncio.to_thread(parse_certificate_text, body)


async def _answer(encode: Callable[[], Any]) -> Response:
    # Every certificate of every chain is read for it.
    return encoded_response(await asyncio.to_thread(lambda: encode_json(encode())))
