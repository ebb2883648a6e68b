"""Revocation: stolen certificates after their CA took them back, and lists that somebody would like to be believed.

Every case has a CA of its own, so that its lists speak about nobody else's devices. The twin is the same device with
the certificate that it got in place of the stolen one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509

from moorage.errors import Refusal
from moorage.identities.model import ByAuthority
from moorage.ids import DEFAULT_HUB
from tests import certs
from tests.attacks.scene import Scene, device_address
from tests.attacks.table import ACCEPTED, LET_IN, Chapter
from tests.servers.revoking import Answering, add_list, answer_of, crl, serving, with_signers
from tests.servers.world import eventually, named
from tests.unit.pki.lists import entry, odd_list

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Revocation", is_about_credentials=True)

_LONG_AGO = certs.NOW - timedelta(days=20)
_ROUNDS = 6
_STEP_S = 0.0015


@dataclass(frozen=True)
class Plant:
    """A CA that the door trusts, a line below it, and the victim's certificates: the stolen one, and the new one."""

    ca: certs.Issued
    line: certs.Issued
    stolen: certs.Issued
    fresh: certs.Issued


async def _plant(scene: Scene, *, by_line: bool = False) -> Plant:
    """Arranged at the scene's door; with `by_line` the line signed what was stolen."""
    ca = certs.root(f"Revoking {scene.name}")
    line = certs.intermediate(ca, f"Line {scene.name}")
    fresh = certs.device(ca, scene.name, label="fresh")
    await _make_room(scene)
    if scene.is_hub:
        await scene.world.upload(ca, scene.name)
        await scene.world.create(scene.name, ByAuthority())
    else:
        await scene.ground.group(scene.name, ca)
    scene.honest = lambda: scene.show(issued=fresh)
    return Plant(ca, line, certs.device(line if by_line else ca, scene.name, label="stolen"), fresh)


async def _make_room(scene: Scene) -> None:
    """Take out what earlier cases left: a hub has a hundred CAs, and looks at the lists of two hundred."""
    service, certificates = scene.world.app.revocation.service, scene.world.certificates
    for state in service.all():
        await service.forget(state.issuer.issuer_id, by="tests")
    for ca in certificates.all(DEFAULT_HUB, "hub"):
        if ca.certificate.subject.startswith(("CN=Revoking ", "CN=Other ")):
            await certificates.delete(DEFAULT_HUB, "hub", ca.name, by="tests", if_match=None)


async def _show(scene: Scene, issued: certs.Issued) -> str:
    return await scene.show(issued=issued, sends=len(issued.fullchain))


async def _policy(scene: Scene, ca: certs.Issued, policy: Literal["hard", "soft", "off"]) -> None:
    await scene.world.app.revocation.service.configure(ca.certificate, by="tests", policy=policy)


async def _is_not_taken(scene: Scene, content: bytes, reason: str) -> None:
    try:
        await add_list(scene.world, content)
    except Refusal as refusal:
        assert refusal.reason == reason, refusal
    else:
        raise AssertionError("the list was taken")


def _number(value: int) -> tuple[x509.ExtensionType, bool]:
    return x509.CRLNumber(value), False


def _held(issued: certs.Issued, flag: x509.ReasonFlags) -> x509.RevokedCertificate:
    return entry(issued.certificate.serial_number, (x509.CRLReason(flag), False))


# --- what a list says ------------------------------------------------------------------------------------------------


@attack(900, "A stolen certificate that is on its CA's list.", hub="chain.revoked", dps="chain.revoked")
async def _leaf(scene: Scene) -> str:
    plant = await _plant(scene)
    await add_list(scene.world, crl(plant.ca, plant.stolen))
    return await _show(scene, plant.stolen)


@attack(
    901,
    "A certificate of a CA that is on the list of the CA above it.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _intermediate(scene: Scene) -> str:
    plant = await _plant(scene, by_line=True)
    await add_list(scene.world, crl(plant.ca, plant.line))
    return await _show(scene, plant.stolen)


@attack(
    902,
    "A stolen certificate on the list of an intermediate that nobody registered.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _by_intermediate(scene: Scene) -> str:
    plant = await _plant(scene, by_line=True)
    await add_list(scene.world, with_signers(crl(plant.line, plant.stolen), plant.line.certificate))
    return await _show(scene, plant.stolen)


@attack(903, "A stolen certificate that was put on hold.", hub="chain.revoked", dps="chain.revoked")
async def _on_hold(scene: Scene) -> str:
    plant = await _plant(scene)
    await add_list(scene.world, crl(plant.ca, plant.stolen, reason="certificateHold"))
    return await _show(scene, plant.stolen)


@attack(904, "On hold, and taken off again by a delta list.", hub=ACCEPTED, dps=ACCEPTED)
async def _removed(scene: Scene) -> str:
    plant = await _plant(scene)
    held = _held(plant.stolen, x509.ReasonFlags.certificate_hold)
    await add_list(scene.world, odd_list(plant.ca, held, extensions=[_number(1)]))
    freed = _held(plant.stolen, x509.ReasonFlags.remove_from_crl)
    delta = (x509.DeltaCRLIndicator(1), True)
    await add_list(scene.world, odd_list(plant.ca, freed, extensions=[_number(2), delta]))
    return await _show(scene, plant.stolen)


@attack(
    905,
    "A removal that stands in a complete list, where there is nothing to remove from.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _removed_nowhere(scene: Scene) -> str:
    plant = await _plant(scene)
    odd = _held(plant.stolen, x509.ReasonFlags.remove_from_crl)
    await add_list(scene.world, odd_list(plant.ca, odd, extensions=[_number(1)]))
    return await _show(scene, plant.stolen)


# --- lists that are not to be believed -------------------------------------------------------------------------------


@attack(
    910,
    "A list that brings the stolen certificate back, by another CA of the same name.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _namesake(scene: Scene) -> str:
    plant = await _plant(scene)
    await add_list(scene.world, crl(plant.ca, plant.stolen))
    other = certs.root(f"Revoking {scene.name}", label="other key")
    await _is_not_taken(scene, crl(other, number=9), "crl.signature")
    await _is_not_taken(scene, with_signers(crl(other, number=9), other.certificate), "crl.unvouched")
    return await _show(scene, plant.stolen)


@attack(
    911,
    "A list that throws an honest device out, by another CA of the same name.",
    hub=ACCEPTED,
    dps=ACCEPTED,
)
async def _thrown_out(scene: Scene) -> str:
    plant = await _plant(scene)
    other = certs.root(f"Revoking {scene.name}", label="other key")
    await _is_not_taken(scene, crl(other, plant.fresh), "crl.signature")
    return await _show(scene, plant.fresh)


@attack(
    912,
    "A line names a CA below itself like the CA above, and has that publish a list which brings the stolen one back.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _namesake_below(scene: Scene) -> str:
    plant = await _plant(scene)
    below = certs.intermediate(plant.line, f"Revoking {scene.name}", label="below the line")
    await add_list(scene.world, crl(plant.ca, plant.stolen))
    forged = crl(below, plant.fresh, number=99)
    # Its signer has a good chain to a registered CA, so it is taken; it counts for nothing that the line did not issue.
    await add_list(scene.world, with_signers(forged, below.certificate, plant.line.certificate))
    return await _show(scene, plant.stolen)


@attack(913, "The list of another registered CA has the same serial number.", hub=ACCEPTED, dps=ACCEPTED)
async def _same_serial(scene: Scene) -> str:
    plant = await _plant(scene)
    other = certs.root(f"Other {scene.name}")
    await scene.world.upload(other, f"other-{scene.name}")
    await add_list(scene.world, crl(other, plant.fresh))
    return await _show(scene, plant.fresh)


@attack(
    914,
    "An indirect list of another registered CA names the certificate.",
    hub=ACCEPTED,
    dps=ACCEPTED,
)
async def _indirect(scene: Scene) -> str:
    plant = await _plant(scene)
    other = certs.root(f"Other {scene.name}")
    await scene.world.upload(other, f"other-{scene.name}")
    point = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
    whose = x509.CertificateIssuer([x509.DirectoryName(plant.ca.certificate.x509.subject)])
    named_by = entry(plant.fresh.certificate.serial_number, (whose, True))
    indirect = odd_list(other, named_by, extensions=[_number(1), (point, True)])
    await _is_not_taken(scene, indirect, "crl.indirect")
    return await _show(scene, plant.fresh)


@attack(
    915,
    "An older list comes again, from before the theft.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _rollback(scene: Scene) -> str:
    plant = await _plant(scene)
    before = crl(plant.ca, number=1)
    await add_list(scene.world, before)
    await add_list(scene.world, crl(plant.ca, plant.stolen, number=2))
    await _is_not_taken(scene, before, "crl.older")
    await _is_not_taken(scene, crl(plant.ca, number=2), "crl.older")
    return await _show(scene, plant.stolen)


@attack(
    916,
    "A list of tomorrow would outlive every list until then.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _tomorrow(scene: Scene) -> str:
    plant = await _plant(scene)
    await add_list(scene.world, crl(plant.ca, plant.stolen))
    tomorrow = crl(plant.ca, number=2, now=certs.NOW + timedelta(days=1))
    await _is_not_taken(scene, tomorrow, "crl.from_the_future")
    return await _show(scene, plant.stolen)


# --- when nobody knows -----------------------------------------------------------------------------------------------


@attack(
    920,
    "Nobody publishes a list, where the policy is hard.",
    hub="chain.revocation_unknown",
    dps="chain.revocation_unknown",
)
async def _hard(scene: Scene) -> str:
    plant = await _plant(scene)
    await _policy(scene, plant.ca, "hard")

    async def honest() -> str:
        await add_list(scene.world, crl(plant.ca, plant.stolen))
        return await scene.show(issued=plant.fresh)

    scene.honest = honest
    return await _show(scene, plant.stolen)


@attack(
    921,
    "The next list is kept from arriving, where the policy is hard: who is not on the old one is not let in either.",
    hub="chain.revocation_unknown",
    dps="chain.revocation_unknown",
)
async def _stale_hard(scene: Scene) -> str:
    plant = await _plant(scene)
    await _policy(scene, plant.ca, "hard")
    await add_list(scene.world, crl(plant.ca, now=_LONG_AGO))

    async def honest() -> str:
        await add_list(scene.world, crl(plant.ca, plant.stolen, number=2))
        return await scene.show(issued=plant.fresh)

    scene.honest = honest
    return await _show(scene, plant.stolen)


@attack(
    922,
    "The next list is kept from arriving, where the policy is soft: who is on the old one stays out.",
    hub="chain.revoked",
    dps="chain.revoked",
)
async def _stale_soft(scene: Scene) -> str:
    plant = await _plant(scene)
    await add_list(scene.world, crl(plant.ca, plant.stolen, now=_LONG_AGO))
    return await _show(scene, plant.stolen)


@attack(
    923,
    "The next list is kept from arriving, where the policy is soft: what it would say is not known.",
    hub=ACCEPTED,
    dps=ACCEPTED,
)
async def _stale_and_unlisted(scene: Scene) -> str:
    plant = await _plant(scene)
    await add_list(scene.world, crl(plant.ca, now=_LONG_AGO))
    return await _show(scene, plant.stolen)


@attack(
    924,
    "A certificate that names the list of another CA, and a place where that would be.",
    hub="chain.revoked",
    dps="chain.revoked",
    own_hub={"egress_allow": "127.0.0.1"},
)
async def _own_place(scene: Scene) -> str:
    plant = await _plant(scene)
    called: list[str] = []

    def answer(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> tuple[int, dict[str, str], bytes]:
        called.append(path)
        return 200, {}, crl(plant.ca, number=9)

    async with serving(answer) as url:
        elsewhere = x509.DirectoryName(certs.common_name("Elsewhere"))
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{url}/mine.crl")], None, None, [elsewhere])
        key = certs.key_of(f"{scene.name}/own place")
        leaf = certs.odd(
            scene.name,
            issuer=plant.ca,
            key=key,
            extensions=[(certs.NOT_A_CA, True), (x509.CRLDistributionPoints([point]), False)],
        )
        stolen = certs.Issued(leaf, key, plant.stolen.signers)
        await add_list(scene.world, crl(plant.ca, stolen))
        told = await _show(scene, stolen)
    assert called == []
    return told


_CUT: Final = ("amqp:unauthorized-access", "chain.revoked")

# --- while it happens ------------------------------------------------------------------------------------------------


@attack(930, "Connected when the certificate is revoked.", hub=("closed", "chain.revoked"), hub_amqp=_CUT)
async def _while_connected(scene: Scene) -> str:
    plant = await _plant(scene)
    client = await scene.connect(issued=plant.stolen)
    await add_list(scene.world, crl(plant.ca, plant.stolen))
    return await scene.is_cut(client)


@attack(931, "Connected when the CA of the certificate is revoked.", hub=("closed", "chain.revoked"), hub_amqp=_CUT)
async def _while_connected_below(scene: Scene) -> str:
    plant = await _plant(scene, by_line=True)
    client = await scene.connect(issued=plant.stolen)
    await add_list(scene.world, crl(plant.ca, plant.line))
    return await scene.is_cut(client)


@attack(932, "Revoked between the TLS handshake and CONNECT, or a link.", hub="chain.revoked", no_https=True)
async def _after_handshake(scene: Scene) -> str:
    plant = await _plant(scene)
    if scene.is_amqp:
        opened = await scene.open_amqp(plant.stolen)
        await add_list(scene.world, crl(plant.ca, plant.stolen))
        return scene.heard_link(await opened.attach(device_address(scene.name)))
    client = await scene.dial(plant.stolen)
    await add_list(scene.world, crl(plant.ca, plant.stolen))
    await client.say_hello(scene.name)
    return "CONNACK 5" if await client.rest() == [] else "let in"


@attack(933, "CONNECT while the certificate is being revoked.", hub="chain.revoked", no_https=True)
async def _race(scene: Scene) -> str:
    plant = await _plant(scene)
    for turn in range(_ROUNDS):
        name = f"{scene.name}-{turn}"
        await scene.world.create(name, ByAuthority())
        stolen = certs.device(plant.ca, name)

        async def later(turn: int = turn, stolen: certs.Issued = stolen) -> None:
            await asyncio.sleep(turn * _STEP_S)
            await add_list(scene.world, crl(plant.ca, stolen, number=turn + 1))

        await asyncio.gather(scene.show(name, issued=stolen), later())
        await eventually(lambda name=name: not _is_connected(scene, name))  # type: ignore[misc]  # a lambda with a default has no type
        answer = await scene.show(name, issued=stolen)
        assert not _is_connected(scene, name)
    return answer


def _is_connected(scene: Scene, name: str) -> bool:
    return scene.world.app.live.find(DEFAULT_HUB, named(name)) is not None


@attack(
    934,
    "Connected when the OCSP responder of its CA says that the certificate is revoked.",
    hub=("closed", "chain.revoked"),
    hub_amqp=_CUT,
    own_hub={"egress_allow": "127.0.0.1"},
)
async def _ocsp(scene: Scene) -> str:
    plant = await _plant(scene)
    stolen = plant.stolen.certificate.serial_number
    async with serving(_responder(plant.ca, stolen, lambda: scene.world.clock.now())) as url:
        service = scene.world.app.revocation.service
        client = await scene.connect(issued=plant.stolen)
        await service.configure(plant.ca.certificate, by="tests", ocsp_url=url)
        await scene.world.app.revoked.ask(scene.world.app.revocation.asker)
        return await scene.is_cut(client)


@attack(
    935,
    "An OCSP answer that throws an honest device out, signed by another CA of the same name.",
    hub=ACCEPTED,
    own_hub={"egress_allow": "127.0.0.1"},
)
async def _ocsp_forged(scene: Scene) -> str:
    plant = await _plant(scene)
    other = certs.root(f"Revoking {scene.name}", label="other key")
    fresh = plant.fresh.certificate.serial_number
    async with serving(_responder(other, fresh, lambda: scene.world.clock.now())) as url:
        parts = scene.world.app.revocation
        await parts.service.configure(plant.ca.certificate, by="tests", ocsp_url=url)
        client = await scene.connect(issued=plant.fresh)
        await eventually(lambda: parts.asker.failures)
        return LET_IN[scene.door] if await scene.is_alive(client) else "closed"


def _responder(ca: certs.Issued, serial: int, now: Callable[[], datetime]) -> Answering:
    """Calls that one certificate revoked."""

    def answer(_method: str, _path: str, _headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, answer_of(body, ca, revoked=lambda asked: asked == serial, now=now())

    return answer
