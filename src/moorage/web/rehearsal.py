"""Roll rehearsal: what replacing a CA would do, the roll itself, its progress, and its undoing.

choose group and slot, or a registered CA, and the new CA ──► 412 fine, 9 stranded ──► Roll it now ──► progress, live
──► Undo

A rehearsal changes nothing and is kept nowhere. So the pages of its list, and the list as a file, are rehearsed again,
with the certificate that the form of the page carries.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args

from starlette.responses import RedirectResponse, Response

from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.fleet.rehearsal import Rehearsal
from moorage.fleet.roll_model import GroupSlot, HubCA, Roll
from moorage.ids import CAName, ETag, parse_ca_name, parse_enrollment_group_id, version_etag
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.provisioning.drafts import signing_certificates
from moorage.provisioning.model import BySigningCertificates, EnrollmentGroup, Slot
from moorage.web.enrollment_code import rehearsal_acts, undo_acts
from moorage.web.forms import about
from moorage.web.pages import Page, Visit, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.sighting_csv import sightings_as_csv

__all__ = ["rehearsal_pages"]

_SLOTS: Final[tuple[Slot, ...]] = get_args(Slot)
_TOLD = (Invalid, Conflict, PreconditionFailed, TooLarge)
# Of those who would be left outside, or have not changed over, on one page.
_LISTED: Final = 50
_GROUPS: Final = 500
_MOST_NAME: Final = 300
# Before the name of a CA, where the id of a group stands otherwise; no id has a colon and a space.
_REGISTERED: Final = "ca: "


def rehearsal_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Rehearsals(services, renderer)
    of_group, of_ca = "/certificates/rolls/{group_id}", "/certificates/ca-rolls/{name}"
    return [
        Page("GET", "/certificates/rehearsal", pages.show, "certificates.view"),
        Page("POST", "/certificates/rehearsal", pages.rehearse, "certificates.view", keeps=True),
        Page("POST", "/certificates/rehearsal/stranded.csv", pages.stranded, "certificates.view"),
        Page("POST", "/certificates/rolls", pages.roll, "certificates.manage"),
        *(
            page
            for one in (of_group, of_ca)
            for page in (
                Page("GET", one, pages.progress, "certificates.view"),
                Page("GET", one + "/waiting.csv", pages.waiting, "certificates.view"),
                Page("POST", one + "/undo", pages.undo, "certificates.manage"),
            )
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a rehearsal was asked about: a slot of `group`, or the CA `ca` that is registered at the hub.

    `certificate` is None where nothing takes the place of what stands there. `old` stands there, with `etag`.
    """

    group: EnrollmentGroup | None
    ca: CAName | None
    slot: Slot
    old: Certificate | None
    etag: ETag
    certificate: Certificate | None


class _Rehearsals:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._renderer = renderer

    # -- a rehearsal ---------------------------------------------------------------------------------------------------

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit, visit.query.get("group", ""), visit.query.get("slot", "primary"))

    async def rehearse(self, visit: Visit) -> Response:
        fields = await visit.form()
        chosen, slot, after = fields.get("group", ""), fields.get("slot", ""), fields.get("after", "")[:_MOST_NAME]
        try:
            visit.check_in_time()
            asked = await self._asked(visit, fields)
            with about("certificate"):
                rehearsal = await self._result(visit, asked)
            stranded = await self._services.rolls.devices_below(
                visit.actor, rehearsal.binding, rehearsal.stranded_paths, _LISTED + 1, after
            )
        except (*_TOLD, NotFound) as refusal:
            return await self._page(visit, chosen, slot, problem=refusal)
        return await self._page(
            visit,
            chosen,
            slot,
            asked=asked,
            rehearsal=rehearsal,
            stranded=stranded[:_LISTED],
            next=str(stranded[_LISTED - 1].name) if len(stranded) > _LISTED else "",
            is_first=not after,
        )

    async def stranded(self, visit: Visit) -> Response:
        """All of those who would be left outside, each with why. Raises as the rehearsal does."""
        asked = await self._asked(visit, await visit.form())
        rehearsal = await self._result(visit, asked)
        reasons = {each.path.path_id: (each.reason, each.message) for each in rehearsal.stranded}
        name = f"stranded-{asked.ca or (asked.group.group_id if asked.group is not None else '')}.csv"
        rolls = self._services.rolls
        return sightings_as_csv(
            name,
            lambda limit, after: rolls.devices_below(
                visit.actor, rehearsal.binding, rehearsal.stranded_paths, limit, after
            ),
            reasons,
        )

    async def _asked(self, visit: Visit, fields: dict[str, str]) -> _Asked:
        """Out of the form of a rehearsal: the certificate is a file at first, and text when the page asks again.

        Raises:
            Invalid: `form.file`, `form.slot`, `certificate.*`, `id.*`.
            NotFound: `ca.unknown`, `enrollment.unknown`. Conflict: `enrollment.ca_references`.
        """
        services = self._services
        certificate: Certificate | None = None
        if fields.get("act") != "remove":
            content: bytes | str = fields.get("pem", "") or await visit.upload("certificate")
            if not content:
                raise Invalid("form.file", "no file was chosen")
            with about("certificate"):
                certificate = await asyncio.to_thread(parse_certificate, content)
        chosen = fields.get("group", "")
        if chosen.startswith(_REGISTERED):
            ca = services.rolls.registered_ca(parse_ca_name(chosen.removeprefix(_REGISTERED)))
            return _Asked(None, ca.name, "primary", ca.certificate, version_etag(ca.version), certificate)
        group, slot = services.enrollments.get_group(parse_enrollment_group_id(chosen)), _slot(fields.get("slot", ""))
        old = dict(signing_certificates(group.attestation)).get(slot)
        return _Asked(group, None, slot, None if old is None else old.certificate, group.etag, certificate)

    async def _result(self, visit: Visit, asked: _Asked) -> Rehearsal:
        """Raises `Invalid` (`ca.*`), `Conflict` (`enrollment.ca_references`), `NotFound` (`ca.unknown`)."""
        services = self._services
        waivers = services.waivers()
        await services.sightings.catch_up()
        if asked.ca is not None:
            return await services.rolls.rehearse_registered(visit.actor, asked.ca, asked.certificate, waivers)
        assert asked.group is not None
        return await services.rolls.rehearse(visit.actor, asked.group, asked.slot, asked.certificate, waivers)

    # -- a roll --------------------------------------------------------------------------------------------------------

    async def roll(self, visit: Visit) -> Response:
        fields = await visit.form()
        chosen, slot, etag = fields.get("group", ""), fields.get("slot", ""), ETag(fields.get("etag", ""))
        rolls = self._services.rolls
        try:
            certificate = await asyncio.to_thread(parse_certificate, fields.get("certificate", ""))
            if chosen.startswith(_REGISTERED):
                name = parse_ca_name(chosen.removeprefix(_REGISTERED))
                roll = await rolls.roll_registered(name, certificate, if_match=etag, by=visit.by)
            else:
                group_id = parse_enrollment_group_id(chosen)
                waivers = self._services.waivers()
                roll = await rolls.roll(group_id, _slot(slot), certificate, if_match=etag, by=visit.by, waivers=waivers)
        except (*_TOLD, NotFound) as refusal:
            return await self._page(visit, chosen, slot, problem=refusal)
        return RedirectResponse(_address(roll), HTTPStatus.SEE_OTHER)

    async def progress(self, visit: Visit) -> Response:
        """Also the part of it that the page asks for again and again. Raises `NotFound` (`roll.none`)."""
        return await self._progress(visit, self._roll(visit))

    async def waiting(self, visit: Visit) -> Response:
        """All that have not changed over, as a file. Raises `NotFound` (`roll.none`)."""
        roll, rolls = self._roll(visit), self._services.rolls
        await self._services.sightings.catch_up()
        progress = await rolls.progress(visit.actor, roll)
        return sightings_as_csv(
            f"waiting-{_called(roll)}.csv",
            lambda limit, after: rolls.devices_below(visit.actor, roll.binding, progress.waiting_paths, limit, after),
        )

    async def undo(self, visit: Visit) -> Response:
        roll = self._roll(visit)
        try:
            await self._services.rolls.undo(roll.place, by=visit.by)
        except (*_TOLD, NotFound) as refusal:
            return await self._progress(visit, roll, refusal)
        if isinstance(roll.place, GroupSlot):
            return RedirectResponse(f"/groups/{segment(roll.place.group_id)}", HTTPStatus.SEE_OTHER)
        return RedirectResponse("/certificates/rehearsal", HTTPStatus.SEE_OTHER)

    # ------------------------------------------------------------------------------------------------------------------

    def _roll(self, visit: Visit) -> Roll:
        rolls = self._services.rolls
        if "name" in visit.path:
            name = parse_ca_name(visit.path["name"])
            called, roll = f"the CA '{name}'", rolls.find_registered(name)
        else:
            group_id = parse_enrollment_group_id(visit.path["group_id"])
            called, roll = f"the group '{group_id}'", rolls.find(group_id)
        if roll is None:
            raise NotFound("roll.none", f"no roll of {called} is known")
        return roll

    async def _progress(self, visit: Visit, roll: Roll, problem: Refusal | None = None) -> Response:
        services, after = self._services, visit.query.get("after", "")[:_MOST_NAME]
        await services.sightings.catch_up()
        progress = await services.rolls.progress(visit.actor, roll)
        waiting = await services.rolls.devices_below(
            visit.actor, roll.binding, progress.waiting_paths, _LISTED + 1, after
        )
        is_part = visit.request.headers.get("hx-target") == "progress"
        total = progress.changed + progress.waiting
        return await self._renderer.long_page(
            visit,
            "certificates/progress_part.html" if is_part else "certificates/progress.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            roll=roll,
            called=_called(roll),
            slot=roll.place.slot if isinstance(roll.place, GroupSlot) else "",
            there=_address(roll),
            after=after,
            progress=progress,
            share=100 * progress.changed // total if total else 0,
            total=total,
            waiting=waiting[:_LISTED],
            next=str(waiting[_LISTED - 1].name) if len(waiting) > _LISTED else "",
            as_code=undo_acts(services.info(), roll) if visit.may("certificates.manage") else [],
            problem=problem,
            tab="rehearsal",
        )

    async def _page(
        self,
        visit: Visit,
        chosen: str,
        slot: str,
        *,
        asked: _Asked | None = None,
        problem: Refusal | None = None,
        **result: Any,
    ) -> Response:
        groups = await self._services.enrollments.list_groups(_GROUPS)
        rolls = await self._services.rolls.all([group.group_id for group in groups])
        with_certificates = [each for each in groups if isinstance(each.attestation, BySigningCertificates)]
        values: dict[str, Any] = {"rehearsal": None, "stranded": [], "next": ""}
        slot = slot if slot in _SLOTS else "primary"
        place: dict[str, str] = {"group": chosen or "MyX509Group", "slot": slot}
        if chosen.startswith(_REGISTERED):
            place = {"ca": chosen.removeprefix(_REGISTERED)}
        elif not chosen and with_certificates:
            place["group"] = with_certificates[0].group_id
        return await self._renderer.long_page(
            visit,
            "certificates/rehearsal.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            **values | result,
            asked=asked,
            as_code=rehearsal_acts(
                self._services.info(),
                place,
                asked.certificate if asked is not None else None,
                is_removed=asked is not None and asked.certificate is None,
                may_roll=visit.may("certificates.manage"),
            ),
            groups=with_certificates,
            cas=await self._services.rolls.registered(),
            rolls=[(roll, _called(roll), _address(roll)) for roll in rolls],
            chosen=chosen,
            slot=slot,
            slots=_SLOTS,
            problem=problem,
            tab="rehearsal",
        )


def _slot(text: str) -> Slot:
    """Raises `Invalid` (`form.slot`)."""
    for slot in _SLOTS:
        if text == slot:
            return slot
    raise Invalid("form.slot", f"a group has a primary and a secondary certificate, not {text[:40]!r}")


def _called(roll: Roll) -> str:
    return roll.place.name if isinstance(roll.place, HubCA) else roll.place.group_id


def _address(roll: Roll) -> str:
    where = "ca-rolls" if isinstance(roll.place, HubCA) else "rolls"
    return f"/certificates/{where}/{segment(_called(roll))}"
