"""Roll rehearsal: what replacing a group's CA would do, the roll itself, its progress, and its undoing.

choose slot and new CA ──► 412 fine, 9 stranded ──► Roll it now ──► progress, live ──► Undo
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final, get_args

from starlette.responses import RedirectResponse, Response

from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.fleet.rehearsal import Rehearsal, Roll
from moorage.hub_info import HubInfo
from moorage.ids import CAName, EnrollmentGroupId, ETag, parse_enrollment_group_id
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.provisioning.drafts import signing_certificates
from moorage.provisioning.model import BySigningCertificates, EnrollmentGroup, Slot
from moorage.web.code import Act, Call, act_as_code, central_path
from moorage.web.pages import Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices

__all__ = ["rehearsal_pages"]

_SLOTS: Final[tuple[Slot, ...]] = get_args(Slot)
_TOLD = (Invalid, Conflict, PreconditionFailed, TooLarge)
# Of those who would be left outside; all of them stand behind the link to the next page.
_LISTED: Final = 50
_GROUPS: Final = 500
# Before the name of a CA, where the id of a group stands otherwise; no id has a colon and a space.
_REGISTERED: Final = "ca: "


def rehearsal_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Rehearsals(services, renderer)
    roll = "/certificates/rolls/{group_id}"
    return [
        Page("GET", "/certificates/rehearsal", pages.show, "certificates.view"),
        Page("POST", "/certificates/rehearsal", pages.rehearse, "certificates.view"),
        Page("POST", "/certificates/rolls", pages.roll, "certificates.manage"),
        Page("GET", roll, pages.progress, "certificates.view"),
        Page("POST", roll + "/undo", pages.undo, "certificates.manage"),
    ]


class _Rehearsals:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit, visit.query.get("group", ""), visit.query.get("slot", "primary"))

    async def rehearse(self, visit: Visit) -> Response:
        fields, uploaded = await visit.form(), await visit.upload("certificate")
        chosen, slot = fields.get("group", ""), fields.get("slot", "")
        services = self._services
        try:
            certificate: Certificate | None = None
            if fields.get("act") != "remove":
                if not uploaded:
                    raise Invalid("form.file", "no file was chosen")
                certificate = await asyncio.to_thread(parse_certificate, uploaded)
            await services.sightings.catch_up()
            result = await self._result(visit, chosen, slot, certificate)
            rehearsal: Rehearsal = result["rehearsal"]
            stranded = await services.rolls.devices_below(
                visit.actor, rehearsal.binding, rehearsal.stranded_paths, _LISTED
            )
        except (*_TOLD, NotFound) as refusal:
            return await self._page(visit, chosen, slot, problem=refusal)
        return await self._page(
            visit,
            chosen,
            slot,
            **result,
            certificate=certificate,
            stranded=stranded,
        )

    async def _result(self, visit: Visit, chosen: str, slot: str, certificate: Certificate | None) -> dict[str, Any]:
        """Of a group's slot, or of a CA that is registered at the hub. Raises as the rehearsals do."""
        services = self._services
        waivers = services.waivers()
        if chosen.startswith(_REGISTERED):
            name = CAName(chosen.removeprefix(_REGISTERED)[:128])
            return {
                "ca": name,
                "rehearsal": await services.rolls.rehearse_registered(visit.actor, name, certificate, waivers),
            }
        group = services.enrollments.get_group(parse_enrollment_group_id(chosen))
        rehearsal = await services.rolls.rehearse(visit.actor, group, _slot(slot), certificate, waivers)
        return {
            "group": group,
            "old": dict(signing_certificates(group.attestation)).get(_slot(slot)),
            "rehearsal": rehearsal,
            "acts": _acts(services.info(), group, _slot(slot), certificate),
        }

    async def roll(self, visit: Visit) -> Response:
        fields = await visit.form()
        chosen, slot = fields.get("group", ""), fields.get("slot", "")
        try:
            group_id = parse_enrollment_group_id(chosen)
            certificate = await asyncio.to_thread(parse_certificate, fields.get("certificate", ""))
            await self._services.rolls.roll(
                group_id, _slot(slot), certificate, if_match=ETag(fields.get("etag", "")), by=visit.by
            )
        except (*_TOLD, NotFound) as refusal:
            return await self._page(visit, chosen, slot, problem=refusal)
        return RedirectResponse(_path(group_id), HTTPStatus.SEE_OTHER)

    async def progress(self, visit: Visit) -> Response:
        """Also the part of it that the page asks for again and again. Raises `NotFound` (`roll.none`)."""
        return await self._progress(visit, self._roll(visit))

    async def undo(self, visit: Visit) -> Response:
        roll = self._roll(visit)
        try:
            await self._services.rolls.undo(roll.group_id, by=visit.by)
        except _TOLD as refusal:
            return await self._progress(visit, roll, refusal)
        return RedirectResponse(f"/groups/{segment(roll.group_id)}", HTTPStatus.SEE_OTHER)

    # ------------------------------------------------------------------------------------------------------------------

    def _roll(self, visit: Visit) -> Roll:
        group_id = parse_enrollment_group_id(visit.path["group_id"])
        roll = self._services.rolls.find(group_id)
        if roll is None:
            raise NotFound("roll.none", f"no roll of the group '{group_id}' is known")
        return roll

    async def _progress(self, visit: Visit, roll: Roll, problem: Refusal | None = None) -> Response:
        services = self._services
        await services.sightings.catch_up()
        progress = await services.rolls.progress(visit.actor, roll)
        waiting = await services.rolls.devices_below(visit.actor, roll.group_id, progress.waiting_paths, _LISTED)
        is_part = visit.request.headers.get("hx-target") == "progress"
        total = progress.changed + progress.waiting
        return await self._renderer.long_page(
            visit,
            "certificates/progress_part.html" if is_part else "certificates/progress.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            roll=roll,
            progress=progress,
            share=100 * progress.changed // total if total else 0,
            total=total,
            waiting=waiting,
            problem=problem,
            tab="rehearsal",
        )

    async def _page(
        self, visit: Visit, chosen: str, slot: str, *, problem: Refusal | None = None, **result: Any
    ) -> Response:
        groups = await self._services.enrollments.list_groups(_GROUPS)
        values: dict[str, Any] = {
            "group": None,
            "ca": "",
            "old": None,
            "certificate": None,
            "rehearsal": None,
            "stranded": [],
            "acts": [],
        }
        return await self._renderer.long_page(
            visit,
            "certificates/rehearsal.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            **values | result,
            groups=[each for each in groups if isinstance(each.attestation, BySigningCertificates)],
            cas=await self._services.rolls.registered(),
            rolls=await self._services.rolls.all([group.group_id for group in groups]),
            chosen=chosen,
            slot=slot if slot in _SLOTS else "primary",
            slots=_SLOTS,
            most=_LISTED,
            problem=problem,
            tab="rehearsal",
        )


def _acts(info: HubInfo, group: EnrollmentGroup, slot: Slot, certificate: Certificate | None) -> list[Act]:
    """REST-X2, on somebody's word."""
    if certificate is None:
        return []
    there = central_path("enrollmentGroups", group.group_id, "certificates", slot)
    body = {"certificate": certificate.pem, "verified": True}
    return [act_as_code(info, "Roll it now", Call("PUT", there, body))]


def _slot(text: str) -> Slot:
    """Raises `Invalid` (`form.slot`)."""
    for slot in _SLOTS:
        if text == slot:
            return slot
    raise Invalid("form.slot", f"a group has a primary and a secondary certificate, not {text[:40]!r}")


def _path(group_id: EnrollmentGroupId) -> str:
    return f"/certificates/rolls/{segment(group_id)}"
