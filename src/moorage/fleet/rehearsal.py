"""What a roll of a group's CA would do, before it is done: who stays in, who is left outside, and why.

    slot, new certificate ──► rehearse ──► 412 fine, 9 stranded ──► roll ──► progress ──► undo

The question is put to the validator that judges connections, with the trust that there would be: once for every path
that devices were seen with, on a chain as one of them sent it (`fleet/sightings.py`).

The roll keeps what it replaced, so that it can be undone: a certificate that was proven before is vouched for again by
whoever undoes it, on the word of the proof that was given.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.errors import Conflict, NotFound, Refusal
from moorage.fleet.sightings import IssuerPath, PathId, PathTally, Sighting, SightingTables
from moorage.ids import CAName, EnrollmentGroupId, ETag, HubId, parse_enrollment_group_id
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.inputs import parse_certificate
from moorage.pki.policy import check_ca
from moorage.pki.validator import TrustAnchors, Validator
from moorage.pki.waivers import Waivers
from moorage.provisioning.anchors import how_to_prove, signers_of
from moorage.provisioning.drafts import redraft, redraft_slot, signing_certificates
from moorage.provisioning.enrollments import EnrollmentService
from moorage.provisioning.model import BySigningCertificates, EnrollmentGroup, ProvisioningTables, Slot
from moorage.store import Store

__all__ = ["Outcome", "Progress", "Rehearsal", "Roll", "RollTables", "Rolls", "rehearse"]

audit = logging.getLogger("moorage.audit")

_SETTING: Final = "roll."
# The binding of identities that hang on the hub's registered CAs.
_AT_HUB: Final = ""


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


@dataclass(frozen=True, slots=True)
class Roll:
    """A roll that was done, with what it takes to undo it. `old` is None for a slot that was empty."""

    group_id: EnrollmentGroupId
    slot: Slot
    old: Certificate | None
    new: Certificate
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a roll is: devices seen below the new CA, and those still seen below the old one alone."""

    roll: Roll
    changed: int
    waiting: int
    waiting_paths: tuple[PathId, ...]


class Rolls:
    """Rehearsals, rolls and their undoing, of one hub's enrollment groups."""

    def __init__(self, hub: HubId, store: Store[RollTables], enrollments: EnrollmentService, clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._enrollments = enrollments
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
                rows.tallies(self._hub, actor.organizations, _AT_HUB),
                Validator(TrustAnchors(before, helpers), waivers=waivers),
                Validator(TrustAnchors(after, helpers), waivers=waivers),
                now,
            )

        return await self._store.scan(work)

    async def registered(self) -> list[CAName]:
        """The names of the CAs that are registered at the hub."""
        return await self._store.scan(lambda tables: [ca.name for ca in tables.cas.all(self._hub, "hub")])

    async def roll(
        self, group_id: EnrollmentGroupId, slot: Slot, certificate: Certificate, *, if_match: ETag, by: str
    ) -> Roll:
        """Put `certificate` into the slot on the word of `by`, and keep what stood there.

        Raises as `EnrollmentService.put_group`; `Conflict` (`enrollment.ca_references`, `enrollment.vouching_off`).
        """
        self._check_word(group_id, slot)
        group = self._enrollments.get_group(group_id)
        old = _slots(group).get(slot)
        await self._put(group, slot, certificate, if_match, by)
        roll = Roll(group.group_id, slot, old, certificate, self._clock.now(), by)
        await self._store.write(lambda tables: tables.settings.put(_key(group.group_id), _text(roll), self._hub))
        _audit("enrollment.rolled", roll, by)
        return roll

    async def undo(self, group_id: EnrollmentGroupId, *, by: str) -> None:
        """What stood in the slot before the last roll stands there again.

        Raises `NotFound` (`roll.none`), `Conflict` (`roll.overtaken`) when the slot holds something else by now.
        """
        roll = self.find(group_id)
        if roll is None:
            raise NotFound("roll.none", f"no roll of the group '{group_id}' is known that could be undone")
        group = self._enrollments.get_group(roll.group_id)
        if _slots(group).get(roll.slot) != roll.new:
            raise Conflict(
                "roll.overtaken",
                f"the {roll.slot} slot of '{roll.group_id}' holds another certificate than the roll put there",
                fix=f"moorage enrollment-group show {roll.group_id}",
            )
        self._check_word(roll.group_id, roll.slot)
        await self._put(group, roll.slot, roll.old, group.etag, by)
        await self._store.write(lambda tables: tables.settings.put(_key(roll.group_id), "", self._hub))
        _audit("enrollment.roll_undone", roll, by)

    def find(self, group_id: EnrollmentGroupId) -> Roll | None:
        """The last roll of the group, unless it was undone."""
        text = self._store.read().settings.get(_key(group_id), self._hub)
        return _roll(text) if text else None

    async def all(self, group_ids: Sequence[EnrollmentGroupId]) -> list[Roll]:
        """The last roll of each of these groups, of those that have one."""

        def work(tables: RollTables) -> list[Roll]:
            found = (tables.settings.get(_key(group_id), self._hub) for group_id in group_ids)
            return [_roll(text) for text in found if text]

        return await self._store.scan(work)

    async def progress(self, actor: Actor, roll: Roll) -> Progress:
        def work(tables: RollTables) -> Progress:
            paths = {path.path_id: path.certificates for path in tables.sightings.paths(self._hub)}
            changed, waiting, behind = 0, 0, list[PathId]()
            for tally in tables.sightings.tallies(self._hub, actor.organizations, roll.group_id):
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
        """Those that hang on `binding`, with a leaf below one of `paths`, by device id behind `after`."""
        return await self._store.scan(
            lambda tables: tables.sightings.below(self._hub, actor.organizations, paths, limit, after, binding=binding)
        )

    def _check_word(self, group_id: EnrollmentGroupId, slot: Slot) -> None:
        """A certificate that nobody's word makes good would let nobody in, from the moment it stands there."""
        if not self._enrollments.vouching:
            raise Conflict(
                "enrollment.vouching_off",
                "this hub takes no certificate on somebody's word: put the new one into the other slot, prove it "
                "there, and take the old one away when every device has changed over",
                fix=how_to_prove(group_id, slot),
            )

    async def _put(
        self, group: EnrollmentGroup, slot: Slot, certificate: Certificate | None, if_match: ETag, by: str
    ) -> None:
        draft = redraft(group, redraft_slot(group.attestation, slot, certificate))
        await self._enrollments.put_group(draft, if_match=if_match, by=by, vouched=True)


def _slots(group: EnrollmentGroup) -> dict[Slot, Certificate]:
    """Raises `Conflict` (`enrollment.ca_references`)."""
    if not isinstance(group.attestation, BySigningCertificates):
        raise Conflict(
            "enrollment.ca_references",
            f"the group '{group.group_id}' has no certificates of its own to roll",
            fix=f"moorage enrollment-group show {group.group_id}",
        )
    return {slot: signer.certificate for slot, signer in signing_certificates(group.attestation)}


def _key(group_id: EnrollmentGroupId) -> str:
    return _SETTING + group_id.lower()


def _text(roll: Roll) -> str:
    return json.dumps(
        {
            "group": roll.group_id,
            "slot": roll.slot,
            "old": roll.old.pem if roll.old is not None else "",
            "new": roll.new.pem,
            "at": roll.at.isoformat(),
            "by": roll.by,
        }
    )


def _roll(text: str) -> Roll:
    value = json.loads(text)
    return Roll(
        parse_enrollment_group_id(value["group"]),
        value["slot"],
        parse_certificate(value["old"]) if value["old"] else None,
        parse_certificate(value["new"]),
        datetime.fromisoformat(value["at"]),
        value["by"],
    )


def _audit(event: str, roll: Roll, by: str) -> None:
    facts = {
        "group": roll.group_id,
        "slot": roll.slot,
        "old": roll.old.sha256 if roll.old is not None else "",
        "new": roll.new.sha256,
        "by": by,
    }
    audit.info(
        "%s group=%s slot=%s old=%s new=%s by=%s", event, *facts.values(), extra={"event": event, "facts": facts}
    )
