"""Thumbprint tricks: certificates that are nearly the pinned one, and pins that are nearly a thumbprint."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from moorage.identities.model import ByThumbprint
from moorage.ids import Thumbprint
from tests import certs
from tests.attacks.scene import API, DPS_API, Scene
from tests.attacks.table import ACCEPTED, LET_IN, Chapter

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Thumbprint tricks", is_about_credentials=True)


@attack(250, "The pinned certificate itself.", hub=ACCEPTED, dps=ACCEPTED)
async def _itself(scene: Scene) -> str:
    return await scene.show(issued=await scene.pinned())


@attack(
    251,
    "A self-signed certificate of the same name with another key.",
    hub="identity.thumbprint",
    dps="attestation.thumbprint",
)
async def _same_name(scene: Scene) -> str:
    await scene.pinned()
    return await scene.show(issued=certs.self_signed(scene.name, label="fake"))


@attack(
    252,
    "The pinned certificate's name and key, in another certificate with a longer life.",
    hub="identity.thumbprint",
    dps="attestation.thumbprint",
)
async def _same_key(scene: Scene) -> str:
    good = await scene.pinned()
    longer = certs.odd(scene.name, key=good.key, not_after=certs.NOW + timedelta(days=3650))
    return await scene.show(issued=certs.Issued(longer, good.key))


@attack(
    253,
    "A certificate of the attacker's, and the pinned one sent behind it.",
    hub="identity.thumbprint",
    dps="attestation.thumbprint",
)
async def _pinned_behind(scene: Scene) -> str:
    good = await scene.pinned()
    own = certs.self_signed(scene.name, label="fake")
    both = certs.Issued(own.certificate, own.key, (good.certificate, good.certificate))
    return await scene.show(issued=both, sends=2)


@attack(
    254,
    "A leaf of a CA, where the CA's own certificate is what is pinned.",
    hub="identity.thumbprint",
    dps="attestation.thumbprint",
    no_twin="a CA's certificate is no device's, pinned or not",
)
async def _leaf_of_the_pinned(scene: Scene) -> str:
    ca = certs.root(f"Pinned {scene.name}")
    await scene.pinned(issued=ca)
    scene.honest = None
    return await scene.show(issued=certs.device(ca, scene.name), sends=2)


@attack(
    255,
    "The pinned certificate, after its end.",
    hub="chain.expired",
    dps="chain.expired",
    no_twin="what is pinned is what has ended; A-250 lets one in",
)
async def _ended(scene: Scene) -> str:
    key = certs.key_of(scene.name)
    begun = certs.NOW - timedelta(days=2)
    ended = certs.Issued(certs.odd(scene.name, key=key, not_before=begun, not_after=begun + timedelta(days=1)), key)
    await scene.pinned(issued=ended)
    scene.honest = None
    return await scene.show(issued=ended)


@attack(
    256,
    "The SHA-1 of another certificate is pinned; the attacker's own has the right name, and so has a SHA-1.",
    hub="identity.thumbprint",
)
async def _sha1_of_another(scene: Scene) -> str:
    good = certs.self_signed(scene.name)
    await scene.world.create(scene.name, ByThumbprint(Thumbprint(good.certificate.sha1), None))
    scene.honest = lambda: scene.show(issued=good)
    return await scene.show(issued=certs.self_signed(scene.name, label="fake"))


@attack(
    257,
    "The certificate that was taken out of the secondary place.",
    hub="identity.thumbprint",
    dps="attestation.thumbprint",
)
async def _taken_out(scene: Scene) -> str:
    old = certs.self_signed(scene.name, label="old")
    good = await scene.pinned()
    if scene.is_hub:
        pins = Thumbprint(good.certificate.sha256), Thumbprint(old.certificate.sha256)
        await scene.world.update(scene.name, authentication=ByThumbprint(*pins))
        assert await scene.show(issued=old) == LET_IN[scene.door]
        await scene.world.update(scene.name, authentication=ByThumbprint(pins[0], None))
    else:
        both = {place: {"certificate": each.certificate.pem} for place, each in (("primary", good), ("secondary", old))}
        await _enroll_again(scene, both)
        assert await scene.show(issued=old) == "202"
        await _enroll_again(scene, {"primary": both["primary"]})
    return await scene.show(issued=old)


async def _enroll_again(scene: Scene, certificates: Any) -> None:
    path = f"/enrollments/{scene.name}?{DPS_API}"
    etag = (await scene.ground.arrange("GET", path))["etag"]
    attestation = {"type": "x509", "x509": {"clientCertificates": certificates}}
    body = {"registrationId": scene.name, "etag": etag, "attestation": attestation}
    credential = scene.ground.policy_token("dps", "provisioningserviceowner")
    answer = await scene.request("PUT", path, body, f"If-Match: {etag}", credential=credential)
    assert answer == "200", answer


async def _register_with(scene: Scene, thumbprint: Any) -> str:
    """Register a device that pins this; the twin pins a whole one."""
    good = certs.self_signed(scene.name).certificate.sha256

    async def put(name: str, pin: Any) -> str:
        pinned = {"primaryThumbprint": pin, "secondaryThumbprint": None}
        body = {"deviceId": name, "authentication": {"type": "selfSigned", "x509Thumbprint": pinned}}
        return await scene.request(
            "PUT", f"/devices/{name}?{API}", body, credential=scene.ground.policy_token("hub", "registryReadWrite")
        )

    scene.honest = lambda: put(f"{scene.name}-good", good.lower())
    return await put(scene.name, thumbprint)


_BAD = "400 ArgumentInvalid"


@attack(260, "A pin of 39 digits: the first of a SHA-1.", service=(_BAD, "thumbprint.length"))
async def _truncated(scene: Scene) -> str:
    return await _register_with(scene, certs.self_signed(scene.name).certificate.sha1[:39])


@attack(261, "A pin of 32 digits: an MD5.", service=(_BAD, "thumbprint.length"))
async def _md5(scene: Scene) -> str:
    return await _register_with(scene, "0" * 32)


@attack(262, "A pin that is no hexadecimal.", service=(_BAD, "thumbprint.hex"))
async def _no_hex(scene: Scene) -> str:
    return await _register_with(scene, "*" * 64)


@attack(263, "A pin of full-width digits, which look like ASCII.", service=(_BAD, "thumbprint.hex"))
async def _full_width(scene: Scene) -> str:
    return await _register_with(scene, "\uff11" * 64)


@attack(264, "No pin at all, for a device of type selfSigned.", service=(_BAD, "authentication.thumbprint_missing"))
async def _no_pin(scene: Scene) -> str:
    return await _register_with(scene, None)


@attack(
    265,
    "A certificate whose SHA-256 begins with the digits of the pin, which are fewer: the operator pinned a SHA-1.",
    hub="identity.thumbprint",
    no_twin="nobody has a certificate with this SHA-1",
)
async def _prefix(scene: Scene) -> str:
    own = certs.self_signed(scene.name)
    await scene.world.create(scene.name, ByThumbprint(Thumbprint(own.certificate.sha256[:40]), None))
    return await scene.show(issued=own)
