"""Registrations: a device asks to be placed, and asks again until it is told where.

`register` judges the credential, writes the registration down as `assigning` and lets the placing run on; `poll` tells
how far it is. The first answer is never the result, since some clients only understand it that way (contract/devices.md
6.1). What is `assigning` when the process dies is taken up again by the next poll, or by the next `register`.

A registration keeps one operation id for its life, and a second `register` joins the work in progress. So a device
that asks every second, or asks twice at once with its old and its new certificate, is never told that an operation of
its own is unknown or in the way.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from moorage.clock import Clock
from moorage.errors import (
    Check,
    Conflict,
    Exhausted,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Refusal,
    Unauthenticated,
    Unavailable,
)
from moorage.events import Bus
from moorage.identities.credentials import Presented
from moorage.identities.model import ByAuthority
from moorage.identities.sas import parse_token
from moorage.ids import EnrollmentGroupId, HubId, IdScope, RegistrationId, Secret
from moorage.pki.revocation import Revocation
from moorage.provisioning.allocation import (
    CUSTOM_FAILED,
    HUB_REFUSED,
    AllocationAnswer,
    AllocationFailed,
    AllocationQuestion,
    candidate_names,
    decide_placement,
)
from moorage.provisioning.attestation import Admission, Claim, check_switches, judge_group, judge_individual
from moorage.provisioning.enrollments import ANY, IfMatch
from moorage.provisioning.group_cache import GroupCache
from moorage.provisioning.model import (
    AdmissionRequest,
    Admissions,
    Enrollment,
    HubAssigner,
    IndividualEnrollment,
    ProvisioningTables,
    Registration,
)
from moorage.provisioning.throttle import DeviceRates, DeviceThrottle
from moorage.provisioning.tpm_attestation import TpmAnswer, check_challengeable
from moorage.provisioning.tpm_challenges import TpmChallenges, TpmKeys
from moorage.store import Store

__all__ = ["MAX_UNFINISHED", "Allocator", "Answer", "RegistrationService", "failure_of"]

logger = logging.getLogger(__name__)
audit = logging.getLogger("moorage.audit")

# How long a poll waits for work in progress before it says "still assigning".
POLL_PATIENCE_S: Final = 1.0
_SERVER_ERROR: Final = 500000
# How long the service waits for work in progress when it ends; what is broken off is taken up again by the next poll.
CLOSE_PATIENCE_S: Final = 2.0
# Of one device, one behind the other: a roll of its credential needs two.
MAX_UNFINISHED: Final = 16
_BUSY_RETRY_S: Final = 5
_CHANGED: Final = "enrollment.changed"
_DEFAULT_RATES: Final = DeviceRates()


@dataclass(frozen=True, slots=True)
class Answer:
    """A registration as it is now, and by which enrollment and checks the device was admitted to ask."""

    registration: Registration
    admission: Admission


@dataclass(eq=False, slots=True)
class _Operation:
    """The work of placing one device. `opened` is the registration once it is on disk as `assigning`; `payload` is what
    the device sent along, `is_resumed` says that this was stored by an earlier process.
    """

    claim: Claim
    admission: Admission
    opened: asyncio.Future[Registration]
    payload: Any = None
    is_resumed: bool = False
    task: asyncio.Task[None] | None = field(default=None)
    is_ending: bool = False

    def can_take(self, admission: Admission) -> bool:
        """Whether a device admitted like this may wait for this work instead of having its own."""
        mine, other = self.admission, admission
        return (
            not self.is_ending
            and mine.enrollment.etag == other.enrollment.etag
            and mine.group_id == other.group_id
            and mine.device_id == other.device_id
            and mine.authentication == other.authentication
            # Another hub knows no CA of ours, and is told of the very certificate.
            and (not isinstance(mine.authentication, ByAuthority) or mine.certificate == other.certificate)
        )


class Allocator(Protocol):
    """Asks somebody else where a device goes."""

    async def ask(self, question: AllocationQuestion) -> AllocationAnswer:
        """Raises `AllocationFailed`."""


class RegistrationService:
    """The device side of one hub's provisioning service, and the registration records that operators see."""

    def __init__(
        self,
        hub: HubId,
        id_scope: IdScope,
        store: Store[ProvisioningTables],
        hubs: HubAssigner,
        allocator: Allocator,
        clock: Clock,
        bus: Bus,
        *,
        rates: DeviceRates = _DEFAULT_RATES,
        revocation: Revocation | None = None,
    ) -> None:
        self.hub = hub
        self.id_scope = id_scope
        self._throttle = DeviceThrottle(rates, clock)
        self._store = store
        self._hubs = hubs
        self._allocator = allocator
        # What people say of devices besides their enrollments; nothing while it is None.
        self.admissions: Admissions | None = None
        self._clock = clock
        self._groups = GroupCache(hub, store, bus, revocation=revocation)
        self._operations: dict[str, _Operation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unfinished: Counter[str] = Counter()
        self._challenges = TpmChallenges()

    # --- devices -------------------------------------------------------------------------------------------------

    async def register(self, claim: Claim, presented: Presented, payload: Any = None) -> Answer:
        """Begin to place the device, or join the placing in progress; the registration returned is `assigning`.

        `payload` is JSON that the device sent for a web hook; without one it is not looked at and not kept.

        Raises:
            Unauthenticated: `scope.unknown`, and as `attestation.judge_individual`, `judge_group`, `check_switches`.
            NotFound, Forbidden: as `judge_group`.
            Conflict: `registration.case_conflict`.
            Exhausted: `throttle.exceeded`.
            Unavailable: `enrollment.changed`, twice while it registered.
        """
        try:
            return await self._register(claim, presented, payload)
        except Unavailable as refusal:
            if refusal.reason != _CHANGED:
                raise
        return await self._register(claim, presented, payload)

    async def _register(self, claim: Claim, presented: Presented, payload: Any) -> Answer:
        admission = await self._admit(claim, presented, self._challenges.for_registering)
        self._throttle.register()
        operation = self._operations.get(claim.registration_id.lower())
        if operation is None or not operation.can_take(admission):
            self._check_room(claim)
            operation = self._begin(claim, admission, after=operation, payload=payload)
        elif operation.claim.registration_id != claim.registration_id:
            raise _case_conflict(claim.registration_id, operation.claim.registration_id)
        opened = await asyncio.shield(operation.opened)
        if admission.challenge is not None:
            self._challenges.settle(claim.registration_id, admission.challenge)
        return Answer(opened, admission)

    async def poll(self, claim: Claim, operation_id: str, presented: Presented) -> Answer:
        """How far the operation is. Takes up work that an earlier process left behind.

        Raises:
            NotFound: `operation.unknown`.
            Refusal: as `register`.
        """
        admission = await self._admit(claim, presented)
        self._throttle.poll(claim.registration_id)
        registration = self._find(claim)
        if registration is None or registration.operation_id != operation_id:
            raise NotFound(
                "operation.unknown",
                f"there is no operation {operation_id[:80]!r} of registration {claim.registration_id!r}; was its state "
                "deleted?",
                fix="register again",
                checks=admission.checks,
            )
        if registration.status != "assigning":
            return _told(registration, admission)
        operation = self._operations.get(claim.registration_id.lower())
        if operation is None:
            operation = self._begin(claim, admission, after=None, is_resumed=True)
        if operation.task is not None:
            await asyncio.wait({operation.task}, timeout=POLL_PATIENCE_S)
        return _told(self._find(claim) or registration, admission)

    async def find_own(self, claim: Claim, presented: Presented) -> Answer:
        """The device's own registration. Raises as `poll`, with `registration.unknown`."""
        admission = await self._admit(claim, presented)
        self._throttle.poll(claim.registration_id)
        registration = self._find(claim)
        if registration is None:
            raise _unknown(claim.registration_id)
        return Answer(registration, admission)

    def challenge(self, claim: Claim, keys: TpmKeys) -> tuple[bytes, Unauthenticated | None]:
        """A challenge for the TPM that shows these keys, and why it opens nothing where it does not.

        The device is not told which: who is not enrolled gets one like everybody else (decisions T7).
        """
        try:
            self._check_scope(claim)
            enrolled = self._store.read().individuals.find(self.hub, claim.registration_id)
            check_challengeable(enrolled, claim.registration_id, keys)
        except Unauthenticated as refusal:
            return self._challenges.decoy(keys), refusal
        return self._challenges.open(claim.registration_id, keys, self._clock.now()).wrapped(), None

    def check_answer(self, claim: Claim, token: Secret) -> None:
        """That the token answers a challenge which opens something; nothing is registered by it.

        Raises `Unauthenticated`: `scope.unknown`, `token.malformed`, `tpm.challenge_*`.
        """
        self._check_scope(claim)
        self._challenges.for_registering(claim.registration_id, parse_token(token.reveal()), self._clock.now())

    # --- operators -----------------------------------------------------------------------------------------------

    def find(self, registration_id: RegistrationId) -> Registration | None:
        return self._store.read().registrations.find(self.hub, registration_id)

    def get(self, registration_id: RegistrationId) -> Registration:
        """Raises `NotFound` (`registration.unknown`)."""
        registration = self.find(registration_id)
        if registration is None:
            raise _unknown(registration_id)
        return registration

    async def list_of_group(self, group_id: EnrollmentGroupId, limit: int, after: str = "") -> list[Registration]:
        """In order of the registration id without case, those behind `after`.

        Raises `NotFound` (`enrollment.unknown`) when there is no such group.
        """

        def work(tables: ProvisioningTables) -> list[Registration]:
            if tables.groups.find(self.hub, group_id) is None:
                raise NotFound("enrollment.unknown", f"there is no enrollment group {group_id!r}")
            return tables.registrations.list_of_group(self.hub, group_id, limit, after)

        return await self._store.scan(work)

    async def delete(self, registration_id: RegistrationId, *, if_match: IfMatch = ANY, by: object) -> None:
        """Forget the state: the next registration starts fresh. The device stays on its hub.

        Raises `NotFound` (`registration.unknown`), `PreconditionFailed` (`etag.stale`).
        """

        def work(tables: ProvisioningTables) -> Registration:
            stored = tables.registrations.find(self.hub, registration_id)
            if stored is None:
                raise _unknown(registration_id)
            if if_match not in (None, ANY, stored.etag):
                raise PreconditionFailed(
                    "etag.stale",
                    f"registration {registration_id!r} changed since you read it: you hold {str(if_match)[:64]!r}, "
                    f"it is at {stored.etag!r}; read it again",
                )
            tables.registrations.delete(self.hub, registration_id)
            return stored

        deleted = await self._store.write(work)
        if (operation := self._operations.get(registration_id.lower())) is not None:
            # What comes of it is told to nobody, so nobody may wait for it any more.
            operation.is_ending = True
        facts = {
            "hub": self.hub,
            "id": deleted.registration_id,
            "status": deleted.status,
            "assigned": deleted.assigned_hub or "",
            "by": str(by),
        }
        audit.info(
            "registration.deleted hub=%s id=%s status=%s assigned=%s by=%s",
            *facts.values(),
            extra={"event": "registration.deleted", "facts": facts},
        )

    async def aclose(self) -> None:
        """Wait a moment for the work in progress, and break off what takes longer: it was told to nobody."""
        self._groups.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_PATIENCE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    # --- judging -------------------------------------------------------------------------------------------------

    def _check_scope(self, claim: Claim) -> None:
        if claim.scope.lower() != self.id_scope.lower():
            raise Unauthenticated(
                "scope.unknown",
                f"the device asks for id scope {claim.scope[:64]!r}, this provisioning service has {self.id_scope!r}",
                fix="moorage env",
            )

    async def _admit(self, claim: Claim, presented: Presented, answer: TpmAnswer | None = None) -> Admission:
        """`answer` finds what a TPM's token answers; by default the challenge that it registered with."""
        self._check_scope(claim)
        now = self._clock.now()
        tables = self._store.read()
        individual = tables.individuals.find(self.hub, claim.registration_id)
        if individual is not None:
            waivers = tables.waivers.given(self.hub)
            answer = answer or self._challenges.for_asking
            admission = judge_individual(individual, claim, presented, now, waivers, answer)
        else:
            admission = judge_group(await self._groups.get(), claim, presented, now)
        check_switches(admission, self._store.read().policies.switches(self.hub))
        return admission

    def _find(self, claim: Claim) -> Registration | None:
        """Raises `Conflict` (`registration.case_conflict`)."""
        registration = self.find(claim.registration_id)
        if registration is not None and registration.registration_id != claim.registration_id:
            raise _case_conflict(claim.registration_id, registration.registration_id)
        return registration

    # --- placing -------------------------------------------------------------------------------------------------

    def _check_room(self, claim: Claim) -> None:
        """Raises `Exhausted` (`throttle.exceeded`) when too much waits for this device already."""
        if self._unfinished[claim.registration_id.lower()] >= MAX_UNFINISHED:
            raise Exhausted(
                "throttle.exceeded",
                f"{MAX_UNFINISHED} registrations of {claim.registration_id!r}, each by another credential than the one "
                "before, wait to be worked off",
                retry_after_s=_BUSY_RETRY_S,
                fix="ask again when the first of them has an answer",
            )

    def _begin(
        self,
        claim: Claim,
        admission: Admission,
        after: _Operation | None,
        *,
        payload: Any = None,
        is_resumed: bool = False,
    ) -> _Operation:
        key = claim.registration_id.lower()
        opened = asyncio.get_running_loop().create_future()
        operation = _Operation(claim, admission, opened, payload, is_resumed)
        self._operations[key] = operation
        task = operation.task = asyncio.create_task(self._run(operation, after), name=f"register {key}")
        self._tasks.add(task)
        self._unfinished[key] += 1

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._unfinished[key] -= 1
            if not self._unfinished[key]:
                del self._unfinished[key]
            if self._operations.get(key) is operation:
                del self._operations[key]
            if task.cancelled():
                operation.opened.cancel()
            elif (error := task.exception()) is not None:
                # The registration stays `assigning`; the next poll takes it up again.
                logger.error("registration.interrupted registration_id=%s", key, exc_info=error)

        task.add_done_callback(done)
        return operation

    async def _run(self, operation: _Operation, after: _Operation | None) -> None:
        """Open the registration, place the device, write down the result; one after the other for each id."""
        if after is not None and after.task is not None:
            await asyncio.wait({after.task})
        try:
            before, opened, refusal = await self._store.write(lambda tables: self._open(tables, operation))
        except Exception as error:
            # It belongs to whoever asked; that nobody may be left to hear it is no fault of this task.
            operation.opened.set_exception(error)
            operation.opened.exception()
            return
        operation.opened.set_result(opened)
        try:
            if refusal is not None:
                raise refusal
            result = await self._place(operation, before, opened)
        except Unavailable as refusal:
            # It passes, and `failed` would be final for the device: the next poll tries again.
            logger.warning("registration.deferred registration_id=%s: %s", opened.registration_id, refusal)
            return
        except Refusal as refusal:
            code = refusal.error_code if isinstance(refusal, AllocationFailed) else HUB_REFUSED
            result = replace(
                opened, status="failed", error_code=code, error_message=f"{refusal.reason}: {refusal.message}"
            )
        except Exception:
            logger.exception("registration.failed registration_id=%s", operation.claim.registration_id)
            result = replace(
                opened,
                status="failed",
                error_code=_SERVER_ERROR,
                error_message="registration.failed: an error of the provisioning service itself; its log says more",
            )
        operation.is_ending = True
        await self._store.write(lambda tables: self._close(tables, opened, result))

    def _open(
        self, tables: ProvisioningTables, operation: _Operation
    ) -> tuple[Registration | None, Registration, Forbidden | None]:
        """What it was before, what it is now, and why it goes no further if that is so."""
        claim, admission = operation.claim, operation.admission
        now = self._clock.now()
        payload = operation.payload if admission.enrollment.allocation == "custom" else None
        # It was admitted some time ago: what it came by may have been taken out since.
        _check_unchanged(tables, admission)
        before = tables.registrations.find(self.hub, claim.registration_id)
        if before is not None:
            if before.registration_id != claim.registration_id:
                raise _case_conflict(claim.registration_id, before.registration_id)
            if (
                admission.group_id is not None
                and before.device_id is not None
                and before.device_id != admission.device_id
                and before.device_id.lower() == admission.device_id.lower()
            ):
                raise _case_conflict(admission.device_id, before.device_id)
            if operation.is_resumed:
                payload = before.request_payload
        opened = Registration(
            hub=self.hub,
            registration_id=claim.registration_id,
            operation_id=before.operation_id if before else _new_operation_id(),
            status="assigning",
            created=before.created if before else now,
            updated=now,
            version=before.version + 1 if before else 1,
            attestation_kind=admission.kind,
            group_id=admission.group_id,
            # Where it was placed before stays known until it is placed again, also if this process dies in between.
            substatus=before.substatus if before else None,
            assigned_hub=before.assigned_hub if before else None,
            device_id=before.device_id if before else None,
            request_payload=payload,
        )
        tables.registrations.put(opened)
        refusal = None
        if self.admissions is not None:
            request = AdmissionRequest(
                claim.registration_id,
                admission.device_id,
                admission.group_id,
                admission.enrollment.is_edge,
                operation.payload,
            )
            refusal = self.admissions.admit(tables, request, now)
        return before, opened, refusal

    async def _place(self, operation: _Operation, before: Registration | None, opened: Registration) -> Registration:
        admission = operation.admission
        enrollment = admission.enrollment
        hubs = self._hubs.hubs()
        chosen: str | None = None
        tags, desired, payload = enrollment.initial_tags, enrollment.initial_desired, None
        if enrollment.allocation == "custom":
            answer = await self._ask(admission, before, opened, candidate_names(enrollment, before, hubs))
            # The hook took its time, in which an operator may have taken back what the device was admitted by.
            _check_unchanged(self._store.read(), admission)
            chosen, payload = answer.host_name, answer.payload
            if answer.initial is not None:
                tags, desired = answer.initial
        placement = decide_placement(enrollment, before, hubs, opened.registration_id, chosen)
        assignment = await self._hubs.assign(
            placement.host_name,
            admission.device_id,
            admission.authentication,
            reset_data=placement.substatus == "deviceDataReset",
            tags=tags,
            desired=desired,
            is_edge=enrollment.is_edge,
            thumbprint=None if admission.certificate is None else admission.certificate.sha256,
            moved_from=placement.moved_from,
        )
        return replace(
            opened,
            status="assigned",
            substatus=placement.substatus,
            assigned_hub=placement.host_name,
            device_id=assignment.device_id,
            payload=payload,
        )

    async def _ask(
        self, admission: Admission, before: Registration | None, opened: Registration, names: list[str]
    ) -> AllocationAnswer:
        """The web hook's answer, in our spelling of the hub's name."""
        question = AllocationQuestion(
            admission.enrollment,
            opened.registration_id,
            names,
            admission.certificate,
            opened.request_payload,
            before.assigned_hub if before else None,
            before.device_id if before else None,
        )
        answer = await self._allocator.ask(question)
        for name in names:
            if name.lower() == answer.host_name.lower():
                return replace(answer, host_name=name)
        raise AllocationFailed(
            "allocation.webhook_hub",
            f"the web hook answered {answer.host_name[:253]!r}; it was given the choice of {', '.join(names)}",
            error_code=CUSTOM_FAILED,
        )

    def _close(self, tables: ProvisioningTables, opened: Registration, result: Registration) -> None:
        present = tables.registrations.find(self.hub, opened.registration_id)
        if present is None or present.operation_id != opened.operation_id:
            # Its state was deleted meanwhile, which is to be forgotten; what was placed stays placed.
            return
        done = replace(result, version=present.version + 1, updated=self._clock.now(), request_payload=None)
        tables.registrations.put(done)


def failure_of(registration: Registration) -> Refusal | None:
    """Why placing failed, as a refusal; None when it did not."""
    if registration.status != "failed" or registration.error_message is None:
        return None
    reason, _, message = registration.error_message.partition(": ")
    return Refusal(reason, message, checks=[Check(reason, False, message)])


def _told(registration: Registration, admission: Admission) -> Answer:
    """What the device is told; with its hub it has all that it registered for."""
    if registration.status == "assigned" and admission.challenge is not None:
        admission.challenge.is_used_up = True
    return Answer(registration, admission)


def _check_unchanged(tables: ProvisioningTables, admission: Admission) -> None:
    """That the enrollment is still the one that admitted the device.

    Raises `Forbidden` (`enrollment.disabled`), `Unavailable` (`enrollment.changed`): who asks again is judged by it as
    it is then.
    """
    enrollment = admission.enrollment
    present: Enrollment | None
    if isinstance(enrollment, IndividualEnrollment):
        present = tables.individuals.find(enrollment.hub, enrollment.registration_id)
    else:
        present = tables.groups.find(enrollment.hub, enrollment.group_id)
    if present is None or present.status == "disabled":
        raise Forbidden(
            "enrollment.disabled",
            f"the enrollment was {'deleted' if present is None else 'disabled'} while the device registered",
            checks=admission.checks,
        )
    if present.etag != enrollment.etag:
        raise Unavailable(
            _CHANGED,
            f"the enrollment was at {enrollment.etag!r} when it admitted the device and is at {present.etag!r} now",
        )


def _new_operation_id() -> str:
    # As long as the service's own, in three parts, of which clients make nothing.
    return f"4.{secrets.token_hex(8)}.{secrets.token_hex(16)}"


def _case_conflict(given: str, present: str) -> Conflict:
    return Conflict(
        "registration.case_conflict",
        f"the device registers as {given!r}, registered is {present!r}; registration ids are one name whatever their "
        "case, and have to be spelled alike",
        fix=f"register as {present}",
    )


def _unknown(registration_id: RegistrationId) -> NotFound:
    return NotFound("registration.unknown", f"there is no registration {registration_id!r}")
