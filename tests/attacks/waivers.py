"""Waivers: on a hub that has given one, what passes by it, and that nothing else does."""

from __future__ import annotations

from typing import cast

from cryptography.hazmat.primitives.asymmetric import rsa

from moorage.certificates.waivers import WaiverService
from moorage.ids import DEFAULT_HUB
from moorage.pki.waivers import WAIVERS, Waiver
from moorage.pki.zoo import SPECIMENS, Breeder
from tests import certs
from tests.attacks.scene import Scene
from tests.attacks.table import ACCEPTED, Chapter

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Waivers", is_about_credentials=True)


async def _given(scene: Scene, *waivers: Waiver) -> None:
    await WaiverService(scene.world.app.store).change(DEFAULT_HUB, dict.fromkeys(waivers, True), by="tests")


async def _specimen(scene: Scene, name: str) -> str:
    await scene.by_authority()
    plant = scene.ground.plant
    bred = SPECIMENS[name].breed(Breeder(plant.certificate, plant.key, scene.name, certs.NOW))
    issued = certs.Issued(bred.chain[0], bred.key, bred.chain[1:])
    return await scene.show(issued=issued, sends=len(bred.chain))


@attack(180, "RSA of 1,024 bits, where `rsa-1024` is waived.", hub=ACCEPTED, dps=ACCEPTED, own_hub={})
async def _weak_waived(scene: Scene) -> str:
    await _given(scene, "rsa-1024")
    return await _specimen(scene, "weak-rsa")


@attack(
    181,
    "RSA of 1,024 bits, where only `sha1-signature` is waived.",
    hub="chain.weak_key",
    dps="chain.weak_key",
    own_hub={},
)
async def _weak_under_another(scene: Scene) -> str:
    await _given(scene, "sha1-signature")
    return await _specimen(scene, "weak-rsa")


@attack(182, "Signed with SHA-1, where `sha1-signature` is waived.", hub=ACCEPTED, dps=ACCEPTED, own_hub={})
async def _sha1_waived(scene: Scene) -> str:
    await _given(scene, "sha1-signature")
    return await _specimen(scene, "sha1")


@attack(
    183,
    "Signed with SHA-1, where only `rsa-1024` is waived.",
    hub="chain.weak_signature",
    dps="chain.weak_signature",
    own_hub={},
)
async def _sha1_under_another(scene: Scene) -> str:
    await _given(scene, "rsa-1024")
    return await _specimen(scene, "sha1")


@attack(
    184,
    "Signed with MD5, where everything is waived that can be.",
    hub="chain.weak_signature",
    dps="chain.weak_signature",
    own_hub={},
)
async def _md5(scene: Scene) -> str:
    await _given(scene, *WAIVERS)
    await scene.by_authority()
    old = certs.key_of("Old CA", "rsa-2048")
    ca = certs.odd("Old CA", issuer=scene.ground.plant, key=old, extensions=[(certs.IS_A_CA, True)])
    key = certs.key_of(scene.name)
    leaf = certs.odd(scene.name, issuer=certs.Issued(ca, old), key=key)
    forged = certs.signed_with_md5(leaf, cast(rsa.RSAPrivateKey, old))
    return await scene.show(issued=certs.Issued(forged, key, (ca,)), sends=2)


@attack(
    185,
    "A curve that nobody asked for (secp256k1), where everything is waived that can be.",
    hub="chain.weak_key",
    dps="chain.weak_key",
    own_hub={},
)
async def _odd_curve(scene: Scene) -> str:
    await _given(scene, *WAIVERS)
    await scene.by_authority()
    odd = certs.odd_curve_key()
    ca = certs.odd("Odd Curve CA", issuer=scene.ground.plant, key=odd, extensions=[(certs.IS_A_CA, True)])
    key = certs.key_of(scene.name)
    leaf = certs.odd(scene.name, issuer=certs.Issued(ca, odd), key=key)
    return await scene.show(issued=certs.Issued(leaf, key, (ca,)), sends=2)


@attack(
    186,
    "A forged signature of the right CA on a weak certificate, where everything is waived that can be.",
    hub="chain.signature",
    dps="chain.signature",
    own_hub={},
)
async def _forged(scene: Scene) -> str:
    await _given(scene, *WAIVERS)
    await scene.by_authority()
    fake = certs.root("Attacked Plant", label="fake")
    key = certs.weak_rsa_key()
    return await scene.show(issued=certs.Issued(certs.odd(scene.name, issuer=fake, key=key), key))


@attack(
    187,
    "Connected by a waiver when it is taken back.",
    hub=("closed", "waiver.taken_back"),
    hub_amqp=("amqp:unauthorized-access", "waiver.taken_back"),
    own_hub={},
)
async def _taken_back(scene: Scene) -> str:
    await _given(scene, "rsa-1024")
    await scene.by_authority()
    plant, key = scene.ground.plant, certs.weak_rsa_key()
    client = await scene.connect(issued=certs.Issued(certs.odd(scene.name, issuer=plant, key=key), key))
    await WaiverService(scene.world.app.store).change(DEFAULT_HUB, {"rsa-1024": False}, by="tests")
    return await scene.is_cut(client)


@attack(
    188,
    "RSA of 1,024 bits, after its waiver was taken back.",
    hub="chain.weak_key",
    dps="chain.weak_key",
    own_hub={},
)
async def _after(scene: Scene) -> str:
    waivers = WaiverService(scene.world.app.store)
    await _given(scene, "rsa-1024")
    await waivers.change(DEFAULT_HUB, {"rsa-1024": False}, by="tests")
    return await _specimen(scene, "weak-rsa")
