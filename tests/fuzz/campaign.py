"""Every operation, with generated requests, as its rightful caller and as a stranger.

What holds of each answer, whatever was asked:

* it comes, and soon; its status is below 500;
* status, content type and body are what the OpenAPI document says of that operation;
* without a credential, or with a wrong one, it is a refusal that is the same whatever there is (decisions T7);
* nothing is logged as a fault of ours.

The hub is a real one (`tests/api/served.py`). Its owner may do everything but what is a device's own, which a device
with its certificate does; so nothing that a request breaks (a policy deleted, a key rolled, a switch turned) keeps the
next one out.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import schemathesis
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response as CheckedResponse
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from moorage.api.openapi import openapi_document
from moorage.api.routing import Route
from tests import certs
from tests.api.served import Answer, ServedHub, served_hub
from tests.fuzz.requests import Operation, Sent, generated, impatient, spoiled

__all__ = ["Campaign", "Findings", "campaign_on", "labels_of_all"]

_CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Nothing that one request can ask takes longer on a busy machine.
_SLOW_S: Final = 5.0
# A stranger knocks with one in so many.
_KNOCKS: Final = 8
_WRONG: Final = (
    None,
    "SharedAccessSignature sr=hub&sig=eA%3D%3D&se=99999999999&skn=iothubowner",
    "Bearer x.y.z",
    "\xff",
)
# Refusals that say nothing about what there is: the path is no path of ours, or no path at all.
_ABOUT_PATHS: Final = (400, 404, 405)
_NO_OPERATION: Final = ("route.", "path.")


@dataclass
class Findings:
    """What was wrong, once an operation and kind, with a request that shows it."""

    requests: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, operation: str, kind: str, sent: Sent, answer: Answer | None, more: str = "") -> None:
        if (operation, kind) in self.wrong:
            return
        shown = [f"{operation}: {kind}"]
        shown.append(f"  sent {sent.target.decode()[:300]} headers {sent.headers!r:.400} body {sent.body[:600]!r}")
        if sent.spoiled:
            shown.append(f"  spoiled: {sent.spoiled}")
        if answer is not None:
            shown.append(f"  got {answer.status} {answer.headers!r:.300} {answer.body[:600]!r}")
        if more:
            shown.append(f"  {more[:1500]}")
        self.wrong[operation, kind] = "\n".join(shown)

    def report(self) -> str:
        return "\n".join(self.wrong.values())


class Campaign:
    """`count` requests to each operation: one in `spoil` as it was generated, the others made from those."""

    def __init__(self, hub: ServedHub, *, count: int, spoil: int, seed: int) -> None:
        self._hub = hub
        self._count = count
        self._spoil = spoil
        self._seed = seed
        self._names: Mapping[str, Mapping[str, Sequence[str]]] = {}
        self.findings = Findings()

    @property
    def routes(self) -> Sequence[Route]:
        """Of which operations are made."""
        return self._hub.routes

    def operations(self) -> list[Operation]:
        """In the order of their paths."""
        routes = self.routes
        schema = schemathesis.openapi.from_dict(openapi_document(routes))
        found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
        assert len(found) == sum(not route.needs_header for route in routes), (
            "schemathesis cannot read some of the operations"
        )
        return sorted(found, key=lambda each: each.label)

    async def run(self, operations: Sequence[Operation], tell: Callable[[str, int], None] | None = None) -> None:
        """Try all of `operations`; `tell` hears the name of each, and how many requests it had."""
        for operation in operations:
            before = self.findings.requests
            await self._try(operation)
            if tell is not None:
                tell(operation.label, self.findings.requests - before)

    async def _try(self, operation: Operation) -> None:
        chance = random.Random(f"{self._seed} {operation.label}")
        names = await (self._registered() if _is_of_a_device(operation) else self._seeded())
        with _faults() as faults:
            made = await asyncio.to_thread(
                lambda: list(generated(operation, max(1, self._count // self._spoil), names=names, chance=chance))
            )
            # Of some operations there are only a few requests that differ; then more is made of each.
            copies = -(-self._count // max(1, len(made)))
            for number, sent in enumerate(made):
                for copy in range(copies):
                    one = impatient(sent if copy == 0 else spoiled(sent, chance))
                    await self._send(operation, one)
                    if faults:
                        self.findings.add(operation.label, "a fault of ours in the log", one, None, faults.pop())
                if number % _KNOCKS == 0:
                    await self._knock(operation, sent)

    async def _send(self, operation: Operation, sent: Sent) -> None:
        began = time.monotonic()
        label = operation.label
        try:
            is_device = _is_of_a_device(operation)
            answer = await self._hub.ask(
                operation.method.upper(),
                sent.target,
                sent.body,
                credential=None if is_device else self._hub.owner(),
                headers=sent.headers,
                chain=_DEVICE.sends() if is_device else None,
            )
        except TimeoutError:
            self.findings.add(label, "no answer", sent, None)
            return
        self._count_in(answer)
        took = time.monotonic() - began
        if took > _SLOW_S:
            self.findings.add(label, "slow", sent, answer, f"{took:.1f} s")
        if answer.status >= 500 and label != "GET /readyz":
            self.findings.add(label, f"status {answer.status}", sent, answer)
            return
        if (answer.header("moorage-reason") or "").startswith(_NO_OPERATION):
            # Spoiled so far that it is another operation, or none.
            return
        for kind, why in _departures(sent, answer, took):
            self.findings.add(label, kind, sent, answer, why)

    async def _knock(self, operation: Operation, sent: Sent) -> None:
        for credential in _WRONG:
            answer = await self._hub.ask(
                operation.method.upper(), sent.target, sent.body, credential=credential, headers=sent.headers
            )
            self._count_in(answer)
            is_open = operation.definition.raw["security"] == []
            # Azure's storage says it so.
            is_of_blobs = answer.header("x-ms-error-code") == "AuthenticationFailed"
            if is_open or answer.status == 401 or (answer.status == 403 and is_of_blobs):
                continue
            if answer.status in _ABOUT_PATHS and self._says_nothing(operation, answer):
                continue
            self.findings.add(operation.label, f"a stranger heard {answer.status}", sent, answer)

    def _says_nothing(self, operation: Operation, answer: Answer) -> bool:
        reason = answer.header("moorage-reason") or ""
        if reason.startswith(_NO_OPERATION):
            return True
        # What a device sends is looked at, as far as its form goes, before its credential is judged.
        return _is_of_a_device(operation) and answer.status == 400

    def _count_in(self, answer: Answer) -> None:
        self.findings.requests += 1
        self.findings.answers[answer.status] = self.findings.answers.get(answer.status, 0) + 1

    async def _seeded(self) -> Mapping[str, Sequence[str]]:
        """See to it that there is something of each kind; what it is called, by the name of the path parameter."""
        await asyncio.gather(*(self._put(path, document) for path, document in _THINGS.items()))
        await asyncio.gather(*(self._put(path, document) for path, document in _PARTS.items()))
        return {
            "id": ("pump-01", "sensor-1", "enrolled", "line-7", "nobody"),
            "module": ("m1", "nobody"),
            "name": ("plant-ca", "nobody"),
            "slot": ("primary", "secondary"),
            "scope": (self._hub.app.info().id_scope,),
            "resource": ("hub", "dps"),
            "policy": ("service", "provisioningserviceowner", "mine"),
        }

    async def _registered(self) -> Mapping[str, Sequence[str]]:
        """See to it that there is a device that may register, and has asked for it."""
        scope = self._hub.app.info().id_scope
        certificate = {"x509": {"clientCertificates": {"primary": {"certificate": _DEVICE.pem()}}}}
        await self._put(
            "/enrollments/press-01",
            {"registrationId": "press-01", "attestation": {"type": "x509", **certificate}},
        )
        target = f"/{scope}/registrations/press-01/register"
        answer = await self._hub.ask("PUT", target, b"{}", chain=_DEVICE.sends())
        assert answer.status == 202, answer.body
        return {"scope": (scope,), "id": ("press-01",), "operation": (answer.json()["operationId"],)}

    async def _put(self, path: str, document: dict[str, Any]) -> None:
        """Unless it is there, which its creation says in one way or another."""
        answer = await self._hub.ask("PUT", path, document, credential=self._hub.owner())
        assert answer.status in (200, 201, 400, 409, 412), (path, answer.status, answer.body)


def _is_of_a_device(operation: Operation) -> bool:
    return {"certificate": []} in operation.definition.raw["security"]


def _departures(sent: Sent, answer: Answer, took: float) -> Iterator[tuple[str, str]]:
    """Where the answer is not what the document says."""
    headers: dict[str, list[str]] = {}
    for name, value in answer.headers:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    response = CheckedResponse(
        status_code=answer.status,
        headers=headers,
        content=answer.body,
        request=sent.prepared,
        elapsed=took,
        verify=False,
        stream_cut_short=headers.get("content-type", [""])[0].startswith("text/event-stream"),
    )
    try:
        sent.case.validate_response(response, checks=_CHECKS)
    except FailureGroup as group:
        for failure in group.exceptions:
            yield type(failure).__name__, str(failure)


@contextmanager
def _faults() -> Iterator[list[str]]:
    """Lines of level ERROR that the hub logs meanwhile."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    listener = Listener(logging.ERROR)
    logger = logging.getLogger("moorage")
    logger.addHandler(listener)
    try:
        yield lines
    finally:
        logger.removeHandler(listener)


_DEVICE: Final = certs.self_signed("press-01")
_KEYS: Final[dict[str, Any]] = {"attestation": {"type": "symmetricKey"}}
_THINGS: Final[Mapping[str, dict[str, Any]]] = {
    "/devices/pump-01": {"deviceId": "pump-01", "capabilities": {"iotEdge": True}},
    "/devices/sensor-1": {"deviceId": "sensor-1"},
    "/enrollments/enrolled": {"registrationId": "enrolled", **_KEYS},
    "/enrollmentGroups/line-7": {
        "enrollmentGroupId": "line-7",
        "attestation": {
            "type": "x509",
            "x509": {"signingCertificates": {"primary": {"certificate": certs.root("Line 7").pem()}}},
        },
    },
    "/configurations/line-7": {
        "id": "line-7",
        "content": {"deviceContent": {"properties.desired.interval": 5}},
        "targetCondition": "tags.site = 'north'",
        "priority": 1,
    },
    "/jobs/v2/line-7": {
        "jobId": "line-7",
        "type": "scheduleUpdateTwin",
        "queryCondition": "tags.site = 'north'",
        "updateTwin": {"etag": "*", "tags": {"seen": True}},
        "startTime": "2020-01-01T00:00:00Z",
        "maxExecutionTimeInSeconds": 60,
    },
    "/moorage/v1/hub/certificates/plant-ca": {"certificate": certs.root("Plant CA").pem()},
    "/moorage/v1/dps/certificates/plant-ca": {"certificate": certs.root("Plant CA").pem()},
}
# Of the things above.
_PARTS: Final[Mapping[str, dict[str, Any]]] = {
    "/devices/pump-01/modules/m1": {"deviceId": "pump-01", "moduleId": "m1"},
}


# -- one operation in a process of its own -----------------------------------------------------------------------------

# Requests of which one comes from the document and the others are made from it.
_SPOIL: Final = 8


async def labels_of_all() -> list[str]:
    """The names of all operations."""
    with tempfile.TemporaryDirectory(prefix="moorage-fuzz-") as folder:
        async with served_hub(Path(folder)) as hub:
            return [each.label for each in Campaign(hub, count=1, spoil=1, seed=0).operations()]


def campaign_on(label: str, count: int, seed: int) -> tuple[str, Findings, float]:
    """`count` requests to the operation called `label`, on a hub of its own; and the seconds they took."""
    began = time.monotonic()
    return label, asyncio.run(_try_one(label, count, seed)), time.monotonic() - began


async def _try_one(label: str, count: int, seed: int) -> Findings:
    with tempfile.TemporaryDirectory(prefix="moorage-fuzz-") as folder:
        async with served_hub(Path(folder)) as hub:
            campaign = Campaign(hub, count=count, spoil=_SPOIL, seed=seed)
            await campaign.run([each for each in campaign.operations() if each.label == label])
            return campaign.findings
