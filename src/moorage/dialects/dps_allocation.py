"""What an allocation web hook is asked and answers, in the JSON of Azure's ("Understand custom allocation policies").

    {"individualEnrollment" | "enrollmentGroup": {...}, "deviceRuntimeContext": {...}, "linkedHubs": ["host", ...]}
    {"iotHubHostName": "host", "initialTwin": {"tags", "properties": {"desired"}} | null, "payload": {...} | null}

A hook that says no, says it wrongly, or does not answer fails the registration, as in Azure: the device is told, and
asks again when its program wants it to. Only so many hooks are asked at one time; the others wait, and their devices
hear `assigning` meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from moorage.dialects.dps_enrollments import certificate_json, collection, group_json, individual_json
from moorage.dialects.json_text import encode_json, parse_object
from moorage.dialects.members import get_object, get_text
from moorage.errors import Refusal
from moorage.ids import Secret
from moorage.provisioning.allocation import CUSTOM_FAILED, AllocationAnswer, AllocationFailed, AllocationQuestion
from moorage.provisioning.model import ByTpm, EnrollmentGroup, IndividualEnrollment

__all__ = ["MAX_WEBHOOK_ANSWER_BYTES", "WebhookAllocator", "allocation_request", "parse_allocation"]

log = logging.getLogger(__name__)

# The answer's payload goes on to the device, in one MQTT message.
MAX_WEBHOOK_ANSWER_BYTES: Final = 128 * 1024
MAX_HOOKS_AT_ONCE: Final = 32
_SHOWN: Final = 200

# Posts JSON to a URL; returns status and body, or raises a `Refusal`.
Post = Callable[[Secret, bytes], Awaitable[tuple[int, bytes]]]


class WebhookAllocator:
    """Port: `provisioning.registrations.Allocator`."""

    def __init__(self, post: Post, *, at_once: int = MAX_HOOKS_AT_ONCE) -> None:
        self._post = post
        self._turn = asyncio.Semaphore(at_once)

    async def ask(self, question: AllocationQuestion) -> AllocationAnswer:
        """Raises `AllocationFailed`: `allocation.webhook_missing`, `allocation.webhook_failed`,
        `allocation.webhook_answer`.
        """
        hook = question.enrollment.custom_allocation
        if hook is None:
            raise _failed("allocation.webhook_missing", "the enrollment asks a web hook, and names none")
        async with self._turn:
            try:
                status, body = await self._post(hook.webhook_url, encode_json(allocation_request(question)))
            except Refusal as refusal:
                raise AllocationFailed(
                    "allocation.webhook_failed",
                    f"the web hook could not be asked: {refusal.reason}: {refusal.message}",
                    error_code=CUSTOM_FAILED,
                    fix=refusal.fix,
                ) from refusal
        if not 200 <= status < 300:
            # What it says may be meant for its operator alone.
            log.info(
                "webhook_refused registration_id=%s status=%d body=%r", question.registration_id, status, body[:_SHOWN]
            )
            raise _failed("allocation.webhook_failed", f"the web hook answered with status {status}")
        try:
            return parse_allocation(body)
        except Refusal as refusal:
            raise AllocationFailed(
                "allocation.webhook_answer",
                f"the web hook's answer cannot be used: {refusal.message}",
                error_code=CUSTOM_FAILED,
            ) from refusal


def allocation_request(question: AllocationQuestion) -> dict[str, Any]:
    """The document that a hook gets; without keys, its own URL's query included."""
    enrollment = question.enrollment
    if isinstance(enrollment, IndividualEnrollment):
        entry: dict[str, Any] = {"individualEnrollment": individual_json(enrollment)}
    elif isinstance(enrollment, EnrollmentGroup):
        entry = {"enrollmentGroup": group_json(enrollment)}
    else:
        raise TypeError(f"{type(enrollment).__name__} is no enrollment that a device can come by")
    context: dict[str, Any] = {"registrationId": question.registration_id}
    if question.current_hub is not None:
        context["currentIotHubHostName"] = question.current_hub
        context["currentDeviceId"] = question.current_device
    if isinstance(enrollment.attestation, ByTpm):
        context["tpm"] = {}
    elif question.certificate is None:
        context["symmetricKey"] = {}
    else:
        context["x509"] = {"clientCertificates": {"primary": certificate_json(question.certificate, reveal=True)}}
    if question.payload is not None:
        context["payload"] = question.payload
    return {**entry, "deviceRuntimeContext": context, "linkedHubs": list(question.linked_hubs)}


def parse_allocation(body: bytes) -> AllocationAnswer:
    """What a hook answered. Raises `Invalid`: `json.*`, `body.member`."""
    document = parse_object(body, what="the answer")
    twin = get_object(document, "initialTwin")
    return AllocationAnswer(
        # Both spellings stand in Azure's documentation.
        get_text(document, "iotHubHostName") or get_text(document, "iotHubHostname") or "",
        None if twin is None else _initial(twin),
        document.get("payload"),
    )


def _initial(twin: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    properties = get_object(twin, "properties", "initialTwin.properties") or {}
    return (
        collection(get_object(twin, "tags", "initialTwin.tags")),
        collection(get_object(properties, "desired", "initialTwin.properties.desired")),
    )


def _failed(reason: str, message: str) -> AllocationFailed:
    return AllocationFailed(reason, message, error_code=CUSTOM_FAILED)
