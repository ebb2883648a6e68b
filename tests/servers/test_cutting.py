"""Every way in which a session is cut, from the answer to the operator's change until the device hears it.

Two apps on one store and bus; the change comes from one of them. Of each kind there are eight devices, four on either
app: one that listens, one that sends without pause, one that has stopped reading, and one over AMQP. Of those two, one
is alone on its connection, which is closed, and one shares it with a device that stays. A back end listens over AMQP at
either app, and stays unless it is its policy that changes. Around them stand
`CUT_SESSIONS` others (200; `make cuts` has 1,000), whom it does not concern and who stay, and a writer that keeps the
store busy.

What is measured runs from the moment at which the change is answered until the last of the eight is no session any
more, and until the last of them has heard it: at most a second, and as much more as the machine itself stood still
meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.certificates.waivers import WaiverService
from moorage.hub.sessions import LocalSessionDirectory
from moorage.identities.model import ByAuthority, ByThumbprint
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId, Secret, Thumbprint
from moorage.protocols.amqp.message import Message
from moorage.protocols.amqp.performatives import Flow
from moorage.protocols.amqp.sasl import ANONYMOUS, EXTERNAL
from moorage.protocols.mqtt.packets import ConnAck
from moorage.provisioning.drafts import CertificatesDraft, GroupDraft
from moorage.provisioning.enrollments import ANY, EnrollmentService
from moorage.provisioning.linked_hubs import LinkedHubService
from tests import certs
from tests.servers.amqp_clients import AMQPClient, Link, dial_amqp
from tests.servers.clients import Client
from tests.servers.conftest import pytest_asyncio_loop_factories
from tests.servers.revoking import add_list, answer_of, crl, serving
from tests.servers.world import World, eventually, named, running

__all__ = ["pytest_asyncio_loop_factories"]

SESSIONS: Final = int(os.environ.get("CUT_SESSIONS", "200"))
_AT_MOST_S: Final = 1.0
_AT_ONCE: Final = 20
_FLOOD: Final = 200

Pair = tuple[World, World]


class Shown(NamedTuple):
    """What a device comes in with: a certificate, or a token."""

    issued: certs.Issued | None = None
    password: bytes | None = None


class Kind(NamedTuple):
    """`admit` makes a device and says what lets it in; `cut` is the operator's change, of all of them at once.

    `undo` takes back what would keep others out.
    """

    admit: Callable[[World, str], Awaitable[Shown]]
    cut: Callable[[Pair, list[str]], Awaitable[object]]
    reason: str
    cuts_back_ends: bool = False
    undo: Callable[[Pair], Awaitable[object]] | None = None


class OverAMQP(NamedTuple):
    """A device with its links, beside it what stays on the connection."""

    client: AMQPClient
    links: list[Link]
    stays: Link | None


class _Stillness:
    """The longest time for which the loop did nothing for us."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.worst_s = max(self.worst_s, time.perf_counter() - before)

    def end(self) -> None:
        self._task.cancel()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Two apps with the others connected, and the writer at work."""
    bus = LocalBus()
    store = SqliteStore(MEMORY, secrets_key=bytes(32), bus=bus)
    directory = LocalSessionDirectory(bus)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        here, there = [
            await stack.enter_async_context(
                running(
                    tmp_path_factory.mktemp(name) / "hub",
                    store=store,
                    bus=bus,
                    directory=directory,
                    egress_allow="127.0.0.1",
                    max_connections=4 * SESSIONS + 1000,
                )
            )
            for name in ("a", "b")
        ]
        await here.upload(OTHERS, "others")
        for first in range(0, SESSIONS, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, SESSIONS))
            await asyncio.gather(*(_stand_by((here, there)[number % 2], f"other-{number}") for number in numbers))
        writers = [asyncio.ensure_future(_write_on(store, number)) for number in range(4)]
        yield here, there
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)


OTHERS: Final = certs.root("Others")


async def _stand_by(world: World, name: str) -> None:
    await world.create(name, ByAuthority())
    await world.connect(name, certs.device(OTHERS, name), keep_alive_s=0)


async def _write_on(store: SqliteStore, number: int) -> None:
    turn = 0
    while True:
        turn += 1
        await store.write(lambda tables, text=f"{turn}": tables.settings.put(f"busy-{number}", text))  # type: ignore[misc]  # a lambda with a default has no type
        await asyncio.sleep(0)


# --- the devices -----------------------------------------------------------------------------------------------------


async def _connect(world: World, name: str, shown: Shown) -> Client:
    client = await world.dial(shown.issued)
    answer = await client.say_hello(name, password=shown.password, keep_alive_s=0)
    assert isinstance(answer, ConnAck) and answer.return_code == 0, (name, answer)
    return client


async def _connect_amqp(world: World, name: str, shown: Shown, *, beside: str = "") -> OverAMQP:
    """With links to send and to receive; `beside` is the name of a device on the same connection, by a token."""
    client = await dial_amqp(world, shown.issued)
    await client.say_hello(ANONYMOUS if shown.issued is None else EXTERNAL)
    if shown.password is not None:
        assert await client.put_token(shown.password.decode()) == 200
    where = f"/devices/{name.replace('/', '/modules/')}/messages/"
    inputs = "events" if "/" in name else "devicebound"
    links = [await client.attach(f"{where}events"), await client.attach(where + inputs, is_sender=False, credit=10)]
    stays = None
    if beside:
        await world.create(beside)
        assert await client.put_token(world.token(beside).decode()) == 200
        stays = await client.attach(f"/devices/{beside}/messages/events")
    assert all(link is None or link.error is None for link in (*links, stays)), (name, links, stays)
    return OverAMQP(client, links, stays)


async def _hears_its_end(device: OverAMQP, reason: str) -> None:
    """Each link is detached for it, and the connection closed, unless somebody stays on it."""
    for link in device.links:
        error = await device.client.detached(link)
        assert error is not None and error.condition == "amqp:unauthorized-access", error
        assert (error.description or "").startswith(f"{reason}: "), error
    if device.stays is None:
        await device.client.rest()
        assert device.client.closed_with is not None


async def _back_end(world: World) -> OverAMQP:
    """Somebody who listens to feedback with a token of the policy `service`."""
    client = await dial_amqp(world)
    await client.say_hello(ANONYMOUS)
    found = world.policies.get(DEFAULT_HUB, "hub", "service")
    expires = world.clock.now() + timedelta(hours=1)
    token = make_token("localhost", Secret(found.primary.reveal()), expires, "service").reveal()
    assert await client.put_token(token) == 200
    link = await client.attach("/messages/serviceBound/feedback", is_sender=False, credit=10)
    assert link.error is None
    return OverAMQP(client, [link], None)


async def _is_there(back_end: OverAMQP) -> None:
    """The hub answers for its link."""
    (link,) = back_end.links
    back_end.client.say(Flow(0, 2048, 0, 2048, link.handle, 0, 10, echo=True))
    await back_end.client.find(lambda heard: isinstance(heard.body, Flow) and heard.body.handle == link.handle)


async def _hears_it_too(back_end: OverAMQP) -> None:
    error = await back_end.client.detached(back_end.links[0])
    assert error is not None and error.condition == "amqp:unauthorized-access", error
    await back_end.client.rest()


async def _send_on(client: Client, name: str) -> None:
    """Telemetry without pause, until the hub hangs up."""
    topic = f"devices/{name.replace('/', '/modules/')}/messages/events/"
    while not client.writer.is_closing():
        client.publish(topic, b"x" * 200)
        await asyncio.sleep(0.002)


async def _stop_reading(client: Client) -> None:
    """Ask for more than it will ever take."""
    await client.subscribe("$iothub/twin/res/#")
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads, too
    for number in range(_FLOOD):
        client.publish(f"$iothub/twin/GET/?$rid={number}", b"")
    await asyncio.sleep(0)


# --- the kinds -------------------------------------------------------------------------------------------------------

_ROOTS: Final = {
    name: certs.root(f"Cut {name}")
    for name in ("deleted", "group", "listed", "line", "ocsp", "short", "switch", "weak")
}
_LINE: Final = certs.intermediate(_ROOTS["line"], "Cut Line")
_GROUP: Final = EnrollmentGroupId("cut-group")
_STOLEN: dict[str, list[certs.Issued]] = {}


def _pin(issued: certs.Issued) -> Thumbprint:
    return Thumbprint(issued.certificate.sha256)


async def _pinned(world: World, name: str) -> Shown:
    return Shown(await world.create_pinned(name))


async def _doubly_pinned(world: World, name: str) -> Shown:
    issued = certs.self_signed(name)
    await world.create(name, ByThumbprint(_pin(issued), Thumbprint("A" * 64)))
    return Shown(issued)


def _below(label: str, *, lifetime: timedelta = certs.LIFETIME) -> Callable[[World, str], Awaitable[Shown]]:
    async def admit(world: World, name: str) -> Shown:
        ca = _ROOTS[label]
        if all(each.name != CAName(label) for each in world.certificates.all(DEFAULT_HUB, "hub")):
            await world.upload(ca, label)
        await world.create(name, ByAuthority())
        issued = certs.device(_LINE if label == "line" else ca, name, lifetime=lifetime)
        _STOLEN.setdefault(label, []).append(issued)
        return Shown(issued)

    return admit


async def _of_group(world: World, name: str) -> Shown:
    await _put_group(world, "enabled")
    await world.create(name, ByAuthority(_GROUP))
    return Shown(certs.device(_ROOTS["group"], name))


async def _put_group(world: World, status: Any) -> None:
    linked = LinkedHubService(DEFAULT_HUB, world.app.store, ("localhost",), world.clock)
    draft = GroupDraft(group_id=_GROUP, attestation=CertificatesDraft(_ROOTS["group"].certificate), status=status)
    groups = EnrollmentService(DEFAULT_HUB, world.app.store, linked, world.clock)
    is_new = world.app.store.read().groups.find(DEFAULT_HUB, _GROUP) is None
    await groups.put_group(draft, if_match=None if is_new else ANY, by="tests", vouched=True)


async def _module(world: World, name: str) -> Shown:
    await world.create(name.partition("/")[0])
    await world.create(name)
    return Shown(password=world.token(name))


async def _by_policy(world: World, name: str) -> Shown:
    await world.create(name)
    found = world.policies.get(DEFAULT_HUB, "hub", "device")
    expires = world.clock.now() + timedelta(hours=1)
    token = make_token(f"localhost/devices/{name}", Secret(found.primary.reveal()), expires, "device")
    return Shown(password=token.reveal().encode())


async def _weak(world: World, name: str) -> Shown:
    await WaiverService(world.app.store).change(DEFAULT_HUB, {"rsa-1024": True}, by="tests")
    if all(each.name != CAName("weak") for each in world.certificates.all(DEFAULT_HUB, "hub")):
        await world.upload(_ROOTS["weak"], "weak")
    await world.create(name, ByAuthority())
    key = certs.weak_rsa_key()
    return Shown(certs.Issued(certs.odd(name, issuer=_ROOTS["weak"], key=key), key))


async def _before_switch(world: World, name: str) -> Shown:
    shown = await _below("switch")(world, name)
    await world.app.revocation.service.configure(_ROOTS["switch"].certificate, by="tests", policy="off")
    number = len(_STOLEN["switch"])
    await add_list(world, crl(_ROOTS["switch"], *_STOLEN["switch"], number=number))
    return shown


async def _ocsp(pair: Pair, names: list[str]) -> None:
    """Both apps ask about their own; what either hears, both know."""
    here, there = pair
    serials = {issued.certificate.serial_number for issued in _STOLEN["ocsp"]}

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        now = here.clock.now()
        return 200, {}, answer_of(body, _ROOTS["ocsp"], revoked=lambda serial: serial in serials, now=now)

    async with serving(answer) as url:
        await here.app.revocation.service.configure(_ROOTS["ocsp"].certificate, by="tests", ocsp_url=url)
        for world in (here, there):
            await world.app.revoked.ask(world.app.revocation.asker)
        # The change is the responder's answer: once each of the six has been asked about, and it is written down.
        while len(here.app.store.read().revocation.ocsp_revocations(DEFAULT_HUB)) < len(names):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)


async def _each(pair: Pair, names: list[str], change: Callable[[World, str], Awaitable[object]]) -> None:
    await asyncio.gather(*(change(pair[0], name) for name in names))


async def _pass(pair: Pair, seconds: float) -> None:
    for world in pair:
        world.turn(seconds)


async def _roll(pair: Pair, *policies: str) -> None:
    await asyncio.gather(*(pair[0].policies.roll_key(DEFAULT_HUB, "hub", each, "primary") for each in policies))


def _service(pair: Pair) -> Any:
    return pair[0].app.revocation.service


KINDS: Final[dict[str, Kind]] = {
    "disabled": Kind(
        _pinned,
        lambda pair, names: _each(pair, names, lambda world, name: world.set_status(name, "disabled")),
        "identity.disabled",
    ),
    "deleted": Kind(
        _pinned,
        lambda pair, names: _each(pair, names, lambda world, name: world.delete(name)),
        "identity.deleted",
    ),
    "thumbprint taken out": Kind(
        _doubly_pinned,
        lambda pair, names: _each(
            pair,
            names,
            lambda world, name: world.update(name, authentication=ByThumbprint(Thumbprint("A" * 64), None)),
        ),
        "identity.thumbprint_removed",
    ),
    "another kind of credential": Kind(
        _pinned,
        lambda pair, names: _each(pair, names, lambda world, name: world.update(name, authentication=ByAuthority())),
        "identity.authentication_changed",
    ),
    "CA deleted": Kind(
        _below("deleted"),
        lambda pair, _names: pair[0].certificates.delete(
            DEFAULT_HUB, "hub", CAName("deleted"), by="tests", if_match=None
        ),
        "anchors.removed",
    ),
    "group disabled": Kind(_of_group, lambda pair, _names: _put_group(pair[0], "disabled"), "anchors.removed"),
    "certificate on a list": Kind(
        _below("listed"),
        lambda pair, _names: add_list(pair[0], crl(_ROOTS["listed"], *_STOLEN["listed"])),
        "chain.revoked",
    ),
    "CA on a list": Kind(
        _below("line"), lambda pair, _names: add_list(pair[0], crl(_ROOTS["line"], _LINE)), "chain.revoked"
    ),
    "revoked, says the responder": Kind(_below("ocsp"), _ocsp, "chain.revoked"),
    "somebody looks into the list": Kind(
        _before_switch,
        lambda pair, _names: _service(pair).configure(_ROOTS["switch"].certificate, by="tests", policy="hard"),
        "chain.revoked",
    ),
    "expired": Kind(
        _below("short", lifetime=timedelta(minutes=3)), lambda pair, _names: _pass(pair, 200), "credential.expired"
    ),
    "tokens switched off": Kind(
        _module,
        lambda pair, _names: pair[0].policies.set_switches(DEFAULT_HUB, {"disable_module_sas": True}),
        "sas.disabled",
    ),
    "policy's key rolled": Kind(
        _by_policy,
        lambda pair, _names: _roll(pair, "device", "service"),
        "policy.revoked",
        cuts_back_ends=True,
    ),
    "waiver taken back": Kind(
        _weak,
        lambda pair, _names: WaiverService(pair[0].app.store).change(DEFAULT_HUB, {"rsa-1024": False}, by="tests"),
        "waiver.taken_back",
    ),
    "policies' tokens switched off": Kind(
        _by_policy,
        lambda pair, _names: pair[0].policies.set_switches(DEFAULT_HUB, {"disable_local_auth": True}),
        "sas.disabled",
        cuts_back_ends=True,
        undo=lambda pair: pair[0].policies.set_switches(DEFAULT_HUB, {"disable_local_auth": False}),
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_ends_within_a_second_of_the_change_on_either_app(
    pair: Pair, kind: str, record_property: Callable[[str, object], None]
) -> None:
    admit, cut, reason, cuts_back_ends, undo = KINDS[kind]
    module = "/camera" if admit is _module else ""
    names = [f"{kind.replace(' ', '-').replace(',', '').replace(chr(39), '')}-{number}{module}" for number in range(8)]
    shown = [await admit(pair[0], name) for name in names]
    clients = [
        await _connect(pair[number % 2], name, each)
        for number, (name, each) in enumerate(zip(names[:6], shown[:6], strict=True))
    ]
    alone = await _connect_amqp(pair[0], names[6], shown[6])
    shared = await _connect_amqp(pair[1], names[7], shown[7], beside=f"beside-{names[7].partition('/')[0]}")
    back_ends = [await _back_end(world) for world in pair]
    senders = [asyncio.ensure_future(_send_on(clients[number], names[number])) for number in (2, 3)]
    for number in (4, 5):
        await _stop_reading(clients[number])
    before = [_ended(world, reason) for world in pair]
    still = _Stillness()
    await cut(pair, names)
    answered = time.perf_counter()
    while _connected(pair, names):
        assert time.perf_counter() < answered + 60, f"{_connected(pair, names)} still connected"
        await asyncio.sleep(0.001)
    ended = time.perf_counter() - answered
    for number in (4, 5):
        # It reads on, to hear that it is over.
        clients[number].writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
    await asyncio.gather(
        *(client.rest() for client in clients),
        *(_hears_its_end(device, reason) for device in (alone, shared)),
        *(_hears_it_too(back_end) for back_end in back_ends if cuts_back_ends),
    )
    heard = time.perf_counter() - answered
    still.end()
    # For `--junitxml FILE -o junit_family=xunit1`.
    record_property("ended_ms", round(ended * 1000, 1))
    record_property("heard_ms", round(heard * 1000, 1))
    most = _AT_MOST_S + 5 * still.worst_s
    assert ended <= most and heard <= most, f"{kind}: ended after {ended:.3f} s, heard after {heard:.3f}, of {most:.3f}"
    await asyncio.gather(*senders)
    assert [_ended(world, reason) - count for world, count in zip(pair, before, strict=True)] == [4, 4]
    assert shared.stays is not None and await shared.client.send(shared.stays, Message(data=b"still here")) is None
    if not cuts_back_ends:
        await asyncio.gather(*map(_is_there, back_ends))
    if undo is not None:
        await undo(pair)
    for device in (shared, *back_ends):
        device.client.close()
    await eventually(lambda: sum(len(world.app.live) for world in pair) == SESSIONS)


def _connected(pair: Pair, names: list[str]) -> list[str]:
    return [name for world in pair for name in names if world.app.live.find(DEFAULT_HUB, named(name)) is not None]


def _ended(world: World, reason: str) -> float:
    samples = (sample for family in world.app.metrics.registry.collect() for sample in family.samples)
    return sum(
        each.value
        for each in samples
        if each.name == "moorage_sessions_ended_total" and each.labels["reason"] == reason
    )
