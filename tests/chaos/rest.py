"""REST writes: what was answered 2xx is there, as it was answered.

Each worker keeps what it was told of its resources. An answer that never came leaves a resource in doubt: then it is
as before, or as the request wanted it, and nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.cli.hub_client import HUB_CERTIFICATES, HubClient
from moorage.errors import Refusal
from tests import certs
from tests.hubs import Hub

__all__ = ["RestLoad"]

_WORKERS = 2
# A hub takes a bounded number of them.
_MAX_CAS = 8
# Members that tell of the device's connection, not of what was written; a twin shows its device's status besides.
_PRESENCE: Final = frozenset(
    {"cloudToDeviceMessageCount", "connectionState", "connectionStateUpdatedTime", "lastActivityTime"}
)
_IN_TWIN: Final = _PRESENCE | {"deviceEtag", "status", "statusReason", "statusUpdateTime"}
_MISSING: Final = frozenset({"device.not_found", "enrollment.unknown", "ca.unknown"})

Document = Mapping[str, Any]


@dataclass
class _Resource:
    """`known` is what the hub said last, None when there should be nothing. `wish` is what a doubtful request wants."""

    path: str
    known: Document | None = None
    is_doubtful: bool = False
    wish: Document | None = None


@dataclass
class _Worker:
    name: str
    rng: random.Random
    resources: dict[str, _Resource] = field(default_factory=dict)
    # Paths written since the last check.
    touched: set[str] = field(default_factory=set)
    made: int = 0
    acknowledged: int = 0


class RestLoad:
    """A `Load`."""

    name = "REST writes"

    def __init__(self, hub: Hub, rng: random.Random) -> None:
        self._hub = hub
        self._workers = [_Worker(f"rest-{number}", random.Random(rng.random())) for number in range(_WORKERS)]

    @property
    def acknowledged(self) -> int:
        return sum(worker.acknowledged for worker in self._workers)

    def prepare(self) -> None:
        """Nothing to prepare."""

    async def run(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(self._write, worker) for worker in self._workers))

    async def verify(self) -> None:
        for worker in self._workers:
            for path in sorted(worker.touched):
                await asyncio.to_thread(self._check, worker.resources[path])
            worker.touched.clear()

    async def verify_all(self) -> None:
        for worker in self._workers:
            for resource in worker.resources.values():
                await asyncio.to_thread(self._check, resource)

    def _write(self, worker: _Worker) -> None:
        """In a thread, until the hub is gone."""
        client = HubClient(self._hub.data)
        steps, weights = zip(*_STEPS.items(), strict=True)
        try:
            while True:
                worker.rng.choices(steps, weights)[0](worker, client)
        except Refusal as refusal:
            if refusal.reason != "hub.unreachable":
                raise
        finally:
            client.close()

    def _check(self, resource: _Resource) -> None:
        found = _find(self._hub, resource.path)
        possible = [resource.known, *([resource.wish] if resource.is_doubtful else [])]
        assert any(_is_as(found, each, resource.path) for each in possible), (
            f"{resource.path}: found is {found}, answered was {resource.known}"
            + (f", asked for was {resource.wish}" if resource.is_doubtful else "")
        )
        resource.known, resource.is_doubtful, resource.wish = found, False, None


def _find(hub: Hub, path: str) -> Document | None:
    try:
        document = hub.request("GET", path)
        if path.startswith("/enrollments/"):
            # With the keys, which the document itself does not show.
            document["attestation"] = hub.request("POST", f"{path}/attestationmechanism")
    except Refusal as refusal:
        if refusal.reason not in _MISSING:
            raise
        return None
    return dict(document)


def _is_as(found: Document | None, expected: Document | None, path: str) -> bool:
    """Whether `found` has all that `expected` has, except what changes by itself."""
    if found is None or expected is None:
        return found is expected
    ignored = _IN_TWIN if path.startswith("/twins/") else _PRESENCE
    return all(_has(found.get(name), value) for name, value in expected.items() if name not in ignored)


def _has(found: Any, expected: Any) -> bool:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return all(_has(found.get(name), value) for name, value in expected.items())
    return bool(found == expected)


# -- what a worker does ----------------------------------------------------------------------------------------------


def _request(
    worker: _Worker,
    client: HubClient,
    method: str,
    path: str,
    body: Document | None,
    *,
    wish: Document | None,
    if_match: str | None = None,
) -> None:
    """Write the resource at `path`; `wish` is what it will hold at least, None when it will be gone."""
    resource = worker.resources.setdefault(path, _Resource(path))
    resource.is_doubtful, resource.wish = True, wish
    worker.touched.add(path)
    answer = client.request(method, path, body=body, if_match=if_match)
    resource.known = None if method == "DELETE" else answer
    resource.is_doubtful, resource.wish = False, None
    worker.acknowledged += 1


def _next_name(worker: _Worker, what: str) -> str:
    worker.made += 1
    return f"{worker.name}-{what}-{worker.made}"


def _one_of(worker: _Worker, prefix: str) -> tuple[str, Document] | None:
    there = [(path, each.known) for path, each in worker.resources.items() if path.startswith(prefix)]
    alive = [(path, known) for path, known in there if known is not None]
    return worker.rng.choice(alive) if alive else None


def _create_device(worker: _Worker, client: HubClient) -> None:
    name = _next_name(worker, "device")
    kind = worker.rng.choice(("sas", "certificateAuthority"))
    body = {"deviceId": name, "authentication": {"type": kind}, "statusReason": "fresh"}
    wish = {"deviceId": name, "statusReason": "fresh"}
    _request(worker, client, "PUT", f"/devices/{name}", body, wish=wish)


def _update_device(worker: _Worker, client: HubClient) -> None:
    found = _one_of(worker, "/devices/")
    if found is None:
        return
    path, known = found
    worker.made += 1
    change = {"statusReason": f"change {worker.made}", "status": worker.rng.choice(("enabled", "disabled"))}
    wish = {**change, "generationId": known["generationId"], "authentication": known["authentication"]}
    _request(worker, client, "PUT", path, {**known, **change}, wish=wish, if_match=f'"{known["etag"]}"')


def _delete_device(worker: _Worker, client: HubClient) -> None:
    found = _one_of(worker, "/devices/")
    if found is not None:
        _request(worker, client, "DELETE", found[0], None, wish=None, if_match="*")


def _patch_twin(worker: _Worker, client: HubClient) -> None:
    """Of a device that is made for this and stays."""
    found = _one_of(worker, "/twins/")
    if found is None or worker.rng.random() < 0.1:
        name = _next_name(worker, "twin")
        client.request("PUT", f"/devices/{name}", body={"deviceId": name})
        path = f"/twins/{name}"
        # It came with the device, and nothing is in it yet.
        worker.resources[path] = _Resource(path, known={})
    else:
        path = found[0]
    worker.made += 1
    change = {"tags": {"n": worker.made}, "properties": {"desired": {"n": worker.made, "text": "x" * 100}}}
    _request(worker, client, "PATCH", path, change, wish=change)


def _enroll(worker: _Worker, client: HubClient) -> None:
    name = _next_name(worker, "enrollment")
    body = {"registrationId": name, "deviceId": f"{name}-device", "attestation": {"type": "symmetricKey"}}
    _request(worker, client, "PUT", f"/enrollments/{name}", body, wish=body)


def _enroll_again(worker: _Worker, client: HubClient) -> None:
    found = _one_of(worker, "/enrollments/")
    if found is None:
        return
    path, known = found
    worker.made += 1
    change = {"deviceId": f"renamed-{worker.made}", "provisioningStatus": worker.rng.choice(("enabled", "disabled"))}
    body = {**known, **change}
    wish = {**change, "attestation": known["attestation"]}
    _request(worker, client, "PUT", path, body, wish=wish, if_match=f'"{known["etag"]}"')


def _upload_ca(worker: _Worker, client: HubClient) -> None:
    """Uploads them until there are some, then takes one away."""
    uploaded = [path for path, each in worker.resources.items() if "/certificates/" in path and each.known is not None]
    if len(uploaded) >= _MAX_CAS:
        _request(worker, client, "DELETE", uploaded[0], None, wish=None, if_match="*")
        return
    name = _next_name(worker, "ca")
    ca = certs.root(name).certificate
    content = {"certificate": ca.pem, "isVerified": worker.rng.random() < 0.5}
    wish = {"name": name, "properties": {"thumbprint": ca.sha1, "isVerified": content["isVerified"]}}
    _request(worker, client, "PUT", f"{HUB_CERTIFICATES}/{name}", {"properties": content}, wish=wish)


_STEPS: Final[Mapping[Callable[[_Worker, HubClient], None], int]] = {
    _create_device: 4,
    _update_device: 6,
    _patch_twin: 6,
    _delete_device: 1,
    _enroll: 3,
    _enroll_again: 2,
    _upload_ca: 3,
}
