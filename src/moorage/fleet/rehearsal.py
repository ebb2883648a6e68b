"""What a roll of a CA would do, before it is done: who stays in, who is left outside, and why.

    slot, new certificate ──► rehearse ──► 412 fine, 9 stranded ──► roll ──► progress ──► undo

The question is put to the validator that judges connections, with the trust that there would be: once for every path
that devices were seen with, on a chain as one of them sent it (`fleet/sightings.py`). It is put to a slot of an
enrollment group, or to a CA that is registered at the hub, which anchors devices that were created by hand.

The roll keeps what it replaced, so that it can be undone: a certificate that was proven before is vouched for again by
whoever undoes it, on the word of the proof that was given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from moorage.accounts.model import Actor
from moorage.certificates.model import RegisteredCA
from moorage.certificates.service import CertificateService
from moorage.clock import Clock
from moorage.errors import Conflict, NotFound, Refusal
from moorage.fleet.roll_model import AT_HUB, GroupSlot, HubCA, Progress, Roll, read_roll, roll_text
from moorage.fleet.sightings import IssuerPath, PathId, PathTally, Sighting, SightingTables
from moorage.ids import CAName, EnrollmentGroupId, ETag, HubId, version_etag
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.policy import check_ca
from moorage.pki.validator import TrustAnchors, Validator
from moorage.pki.waivers import NO_WAIVERS, Waivers
from moorage.provisioning.anchors import how_to_prove, signers_of
from moorage.provisioning.drafts import redraft, redraft_slot, signing_certificates
from moorage.provisioning.enrollments import EnrollmentService
from moorage.provisioning.model import (
    BySigningCertificates,
    EnrollmentGroup,
    ProvisioningTables,
    SigningCertificate,
    Slot,
)
from moorage.store import SettingTable, Store

__all__ = ["Outcome", "Rehearsal", "RollTables", "Rolls", "rehearse"]

audit = logging.getLogger("moorage.audit")

_SETTING: Final = "roll."
# Before the name of a CA, where the id of a group stands otherwise: no id has a space.
_OF_CA: Final = "ca "


class _Remembering(Protocol):
    """What a roll is remembered in, whichever domain it changes."""

    @property
    def settings(self) -> SettingTable: ...


# Done in the transaction that changes the certificate: there is no roll that could not be undone.
_Also = Callable[[_Remembering], None]


class RollTables(ProvisioningTables, SightingTables, Protocol):
    """What a roll needs of a store."""


class Outcome(NamedTuple):
    """What becomes of the devices below one path. `reason`, `message` and `fix` are '' when they stay in."""

    path: IssuerPath
    devices: int
    reason: str = ""
    message: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Devices that hang on the CA's group, or on the hub's CAs where `binding` is '', and are let in now or would be
    then.
    """

    binding: str
    fine: tuple[Outcome, ...]
    stranded: tuple[Outcome, ...]

    @property
    def fine_devices(self) -> int:
        return sum(each.devices for each in self.fine)

    @property
    def stranded_devices(self) -> int:
        return sum(each.devices for each in self.stranded)

    @property
    def stranded_paths(self) -> list[PathId]:
        return [each.path.path_id for each in self.stranded]


def rehearse(
    paths: Sequence[IssuerPath],
    tallies: Sequence[PathTally],
    before: Validator,
    after: Validator,
    now: datetime,
    binding: str = "",
) -> Rehearsal:
    """Put each path to both validators. For a thread: each may cost a dozen signatures."""
    devices = {tally.path_id: tally.devices for tally in tallies}
    fine: list[Outcome] = []
    stranded: list[Outcome] = []
    for path in paths:
        count = devices.get(path.path_id, 0)
        if not count or not path.sample:
            continue
        refusal = _refusal(after, path, now)
        if refusal is None:
            fine.append(Outcome(path, count))
        elif _refusal(before, path, now) is None:
            stranded.append(Outcome(path, count, refusal.reason, refusal.message, refusal.fix))
    return Rehearsal(binding, tuple(_most_first(fine)), tuple(_most_first(stranded)))


def _refusal(validator: Validator, path: IssuerPath, now: datetime) -> Refusal | None:
    try:
        validator.validate(PeerChain(path.sample), now)
    except Refusal as refusal:
        return refusal
    return None


def _most_first(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda each: -each.devices)


class Rolls:
    """Rehearsals, rolls and their undoing, of one hub's enrollment groups and of the CAs that are registered there."""

    def __init__(
        self,
        hub: HubId,
        store: Store[RollTables],
        enrollments: EnrollmentService,
        authorities: CertificateService,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._store = store
        self._enrollments = enrollments
        self._authorities = authorities
        self._clock = clock

    async def rehearse(
        self, actor: Actor, group: EnrollmentGroup, slot: Slot, certificate: Certificate | None, waivers: Waivers
    ) -> Rehearsal:
        """What happens when `certificate`, verified, stands in `slot`; with None when the slot is empty.

        Raises `Conflict` (`enrollment.ca_references`), `Invalid` (`ca.*`).
        """
        now = self._clock.now()
        if certificate is not None:
            check_ca(certificate, now, waivers)
        trusted = _slots(group)

        def work(tables: RollTables) -> Rehearsal:
            helpers = [ca.certificate for ca in tables.cas.all(self._hub, "dps")]
            helpers = [each for each in helpers if not each.is_self_issued]
            before = {each.slot: each.certificate for each in signers_of(group, tables.cas) if each.is_proven}
            after = {name: held for name, held in trusted.items() if name != slot and name in before}
            if certificate is not None:
                after[slot] = certificate
            judge_before, judge_after = (
                Validator(TrustAnchors(dict.fromkeys(anchors.values()), helpers), waivers=waivers)
                for anchors in (before, after)
            )
            rows = tables.sightings
            tallies = rows.tallies(self._hub, actor.organizations, group.group_id)
            return rehearse(rows.paths(self._hub), tallies, judge_before, judge_after, now, group.group_id)

        return await self._store.scan(work)

    async def rehearse_registered(
        self, actor: Actor, name: CAName, certificate: Certificate | None, waivers: Waivers
    ) -> Rehearsal:
        """The same for a CA that is registered at the hub, which anchors devices that were created by hand.

        Raises `NotFound` (`ca.unknown`), `Invalid` (`ca.*`).
        """
        now = self._clock.now()
        if certificate is not None:
            check_ca(certificate, now, waivers)

        def work(tables: RollTables) -> Rehearsal:
            cas = tables.cas.all(self._hub, "hub")
            if all(ca.name.lower() != name.lower() for ca in cas):
                raise NotFound("ca.unknown", f"no CA named '{name}' is registered for the hub", fix="moorage ca list")
            before = [ca.certificate for ca in cas if ca.is_verified]
            after = [ca.certificate for ca in cas if ca.is_verified and ca.name.lower() != name.lower()]
            if certificate is not None:
                after.append(certificate)
            helpers = [ca.certificate for ca in cas if not ca.certificate.is_self_issued]
            rows = tables.sightings
            return rehearse(
                rows.paths(self._hub),
                rows.tallies(self._hub, actor.organizations, AT_HUB),
                Validator(TrustAnchors(before, helpers), waivers=waivers),
                Validator(TrustAnchors(after, helpers), waivers=waivers),
                now,
            )

        return await self._store.scan(work)

    def registered_ca(self, name: CAName) -> RegisteredCA:
        """Raises `NotFound` (`ca.unknown`)."""
        return self._authorities.get(self._hub, "hub", name)

    async def registered(self) -> list[CAName]:
        """The names of the CAs that are registered at the hub."""
        return await self._store.scan(lambda tables: [ca.name for ca in tables.cas.all(self._hub, "hub")])

    async def roll(
        self,
        group_id: EnrollmentGroupId,
        slot: Slot,
        certificate: Certificate,
        *,
        if_match: ETag,
        by: str,
        waivers: Waivers = NO_WAIVERS,
    ) -> Roll:
        """Put `certificate` into the slot on the word of `by`, and keep what stood there.

        Raises as `EnrollmentService.put_group`; `Invalid` (`ca.*`), as the rehearsal does; `Conflict`
        (`enrollment.ca_references`, `enrollment.vouching_off`).
        """
        check_ca(certificate, self._clock.now(), waivers)
        self._check_word(GroupSlot(group_id, slot))
        group = self._enrollments.get_group(group_id)
        old = dict(_signers(group)).get(slot)
        roll = Roll(
            GroupSlot(group.group_id, slot),
            None if old is None else old.certificate,
            certificate,
            self._clock.now(),
            by,
            old is not None and old.proof != "none",
        )
        await self._put(group, slot, certificate, if_match, by, vouched=True, also=self._keeping(roll))
        _audit("rolled", roll, by)
        return roll

    async def roll_registered(self, name: CAName, certificate: Certificate, *, if_match: ETag, by: str) -> Roll:
        """Put `certificate` in the place of a CA that is registered at the hub, on the word of `by`.

        Raises as `CertificateService.replace`; `Conflict` (`enrollment.vouching_off`).
        """
        self._check_word(HubCA(name))
        present = self._authorities.get(self._hub, "hub", name)
        now, place = self._clock.now(), HubCA(present.name)
        roll = Roll(place, present.certificate, certificate, now, by, present.is_verified)
        await self._replace(present.name, certificate, if_match, by, vouched=True, also=self._keeping(roll))
        _audit("rolled", roll, by)
        return roll

    async def undo(self, place: GroupSlot | HubCA, *, by: str) -> None:
        """What stood there before the last roll stands there again; what let nobody in then lets nobody in now.

        Raises:
            NotFound: `roll.none`; `enrollment.unknown`, `ca.unknown` when what was rolled is gone.
            Conflict: `roll.overtaken` when something else stands there by now, `enrollment.vouching_off`.
        """
        roll = self._last(place)
        if roll is None:
            raise NotFound("roll.none", f"no roll of {_called(place)} is known that could be undone")
        match roll.place:
            case GroupSlot(group_id, slot):
                await self._undo_slot(roll, group_id, slot, by)
            case HubCA(name):
                await self._undo_registered(roll, name, by)
        _audit("roll_undone", roll, by)

    def find(self, group_id: EnrollmentGroupId) -> Roll | None:
        """The last roll of the group, unless it was undone."""
        return self._last(GroupSlot(group_id, "primary"))

    def find_registered(self, name: CAName) -> Roll | None:
        """The last roll of a CA that is registered at the hub, unless it was undone."""
        return self._last(HubCA(name))

    async def all(self, group_ids: Sequence[EnrollmentGroupId]) -> list[Roll]:
        """The last roll of each of these groups and of each CA that is registered at the hub, where there is one."""

        def work(tables: RollTables) -> list[Roll]:
            places: list[GroupSlot | HubCA] = [GroupSlot(group_id, "primary") for group_id in group_ids]
            places += [HubCA(ca.name) for ca in tables.cas.all(self._hub, "hub")]
            found = (tables.settings.get(_key(place), self._hub) for place in places)
            return [read_roll(text) for text in found if text]

        return await self._store.scan(work)

    async def progress(self, actor: Actor, roll: Roll) -> Progress:
        def work(tables: RollTables) -> Progress:
            paths = {path.path_id: path.certificates for path in tables.sightings.paths(self._hub)}
            changed, waiting, behind = 0, 0, list[PathId]()
            for tally in tables.sightings.tallies(self._hub, actor.organizations, roll.binding):
                path = paths.get(tally.path_id, ())
                if roll.new in path:
                    changed += tally.devices
                elif roll.old is not None and roll.old in path:
                    waiting += tally.devices
                    behind.append(tally.path_id)
            return Progress(roll, changed, waiting, tuple(behind))

        return await self._store.scan(work)

    async def devices_below(
        self, actor: Actor, binding: str, paths: Sequence[PathId], limit: int, after: str = ""
    ) -> list[Sighting]:
        """Those that hang on `binding`, with a leaf below one of `paths`, by their names behind `after`."""
        return await self._store.scan(
            lambda tables: tables.sightings.below(self._hub, actor.organizations, paths, limit, after, binding=binding)
        )

    def _last(self, place: GroupSlot | HubCA) -> Roll | None:
        text = self._store.read().settings.get(_key(place), self._hub)
        return read_roll(text) if text else None

    def _keeping(self, roll: Roll) -> _Also:
        key, text = _key(roll.place), roll_text(roll)
        return lambda tables: tables.settings.put(key, text, self._hub)

    def _forgetting(self, roll: Roll) -> _Also:
        key = _key(roll.place)
        return lambda tables: tables.settings.put(key, "", self._hub)

    async def _undo_slot(self, roll: Roll, group_id: EnrollmentGroupId, slot: Slot, by: str) -> None:
        group = self._enrollments.get_group(group_id)
        if _slots(group).get(slot) != roll.new:
            raise Conflict(
                "roll.overtaken",
                f"the {slot} slot of '{group_id}' holds another certificate than the roll put there",
                fix=f"moorage enrollment-group show {group_id}",
            )
        if roll.was_proven:
            self._check_word(roll.place)
        also = self._forgetting(roll)
        await self._put(group, slot, roll.old, group.etag, by, vouched=roll.was_proven, also=also)

    async def _undo_registered(self, roll: Roll, name: CAName, by: str) -> None:
        present = self._authorities.get(self._hub, "hub", name)
        if present.certificate != roll.new or roll.old is None:
            raise Conflict(
                "roll.overtaken",
                f"another certificate is registered as '{name}' than the roll put there",
                fix="moorage ca list",
            )
        if roll.was_proven:
            self._check_word(roll.place)
        etag, also = version_etag(present.version), self._forgetting(roll)
        await self._replace(name, roll.old, etag, by, vouched=roll.was_proven, also=also)

    def _check_word(self, place: GroupSlot | HubCA) -> None:
        """A certificate that nobody's word makes good would let nobody in, from the moment it stands there."""
        if self._enrollments.vouching:
            return
        match place:
            case GroupSlot(group_id, slot):
                how, fix = "put the new one into the other slot, prove it there", how_to_prove(group_id, slot)
            case HubCA():
                how, fix = "register the new one beside it, with a proof", "moorage ca add FILE --prove-with KEY"
        raise Conflict(
            "enrollment.vouching_off",
            f"this hub takes no certificate on somebody's word: {how}, and take the old one away when every device "
            "has changed over",
            fix=fix,
        )

    async def _put(
        self,
        group: EnrollmentGroup,
        slot: Slot,
        certificate: Certificate | None,
        if_match: ETag,
        by: str,
        *,
        vouched: bool,
        also: _Also,
    ) -> None:
        draft = redraft(group, redraft_slot(group.attestation, slot, certificate))
        await self._enrollments.put_group(draft, if_match=if_match, by=by, vouched=vouched, also=also)

    async def _replace(
        self, name: CAName, certificate: Certificate, if_match: ETag, by: str, *, vouched: bool, also: _Also
    ) -> None:
        now = self._clock.now()
        await self._authorities.replace(
            self._hub, "hub", name, certificate.pem, now, by=by, if_match=if_match, vouched=vouched, also=also
        )


def _slots(group: EnrollmentGroup) -> dict[Slot, Certificate]:
    """Raises `Conflict` (`enrollment.ca_references`)."""
    return {slot: signer.certificate for slot, signer in _signers(group)}


def _signers(group: EnrollmentGroup) -> Sequence[tuple[Slot, SigningCertificate]]:
    """Raises `Conflict` (`enrollment.ca_references`)."""
    if not isinstance(group.attestation, BySigningCertificates):
        raise Conflict(
            "enrollment.ca_references",
            f"the group '{group.group_id}' has no certificates of its own to roll",
            fix=f"moorage enrollment-group show {group.group_id}",
        )
    return list(signing_certificates(group.attestation))


def _key(place: GroupSlot | HubCA) -> str:
    """One roll is kept of each group, whichever slot it was of, and of each CA."""
    return _SETTING + (f"{_OF_CA}{place.name}" if isinstance(place, HubCA) else place.group_id).lower()


def _called(place: GroupSlot | HubCA) -> str:
    return f"the CA '{place.name}'" if isinstance(place, HubCA) else f"the group '{place.group_id}'"


def _audit(what: str, roll: Roll, by: str) -> None:
    """`enrollment.rolled` of a group, `ca.rolled` of a CA that is registered at the hub."""
    match roll.place:
        case GroupSlot(group_id, slot):
            event, where = f"enrollment.{what}", {"group": str(group_id), "slot": str(slot)}
        case HubCA(name):
            event, where = f"ca.{what}", {"registry": "hub", "ca": str(name)}
    facts = {
        **where,
        "old": roll.old.sha256 if roll.old is not None else "",
        "new": roll.new.sha256,
        "by": by,
    }
    line = " ".join(f"{name}=%s" for name in facts)
    audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})
