"""Chain tricks and algorithm tricks: certificates that should not be believed, each with the name of a real device.

The specimens of the certificate zoo are cases of their own; beside them stands what takes more than one certificate and
one CA. The provisioning service judges the same chains for a group whose certificate is the plant's CA.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from moorage.identities.model import ByAuthority
from moorage.ids import DEFAULT_HUB, CAName, EnrollmentGroupId
from moorage.pki.certificates import Certificate
from moorage.pki.zoo import SPECIMENS, Breeder
from tests import certs
from tests.attacks.scene import Scene
from tests.attacks.table import LET_IN, Act, Chapter
from tests.servers.revoking import add_list, with_signers

__all__ = ["ALGORITHMS", "CHAPTER"]

CHAPTER = attack = Chapter("Chain tricks", is_about_credentials=True)
ALGORITHMS = algorithm = Chapter("Algorithm tricks", is_about_credentials=True)

# Specimens in the order of their numbers, which stay; one that is not here yet comes behind them.
_FIRST: Final = (
    *("good", "usage-absent", "below-intermediate", "expired", "not-yet-valid", "wrong-name", "wrong-case"),
    *("name-with-space", "name-with-nul", "module-name", "look-alike", "two-names", "no-name", "ca-as-leaf"),
    *("issuer-no-ca", "path-too-long", "too-many", "name-constrained", "expired-issuer", "issuer-may-not-sign"),
    *("missing-intermediate", "server-only", "no-digital-signature", "unknown-critical", "namesake-issuer"),
    *("tampered", "unproven-ca", "self-signed", "nameless", "code-signing", "may-sign", "constrains-names", "loop"),
    *("issuer-not-yet-valid", "issuer-server-only", "issuer-unknown-critical", "issuer-policies", "host-excluded"),
    *("mail-elsewhere", "address-elsewhere", "any-usage"),
)
_WEAK: Final = {"weak-rsa": 171, "sha1": 172, "issuer-weak-rsa": 177}
_IN_ORDER: Final = dict.fromkeys((*_FIRST, *SPECIMENS))
_NUMBERS: Final = {
    name: 101 + place for place, name in enumerate(name for name in _IN_ORDER if name not in _WEAK)
} | _WEAK

# Where the provisioning service writes down another reason than the hub, or lets in.
_AT_DPS: Final = {
    "wrong-name": "registration.id_mismatch",
    # Registration ids have no case (decisions T3).
    "wrong-case": None,
    "name-with-space": "registration.id_mismatch",
    "name-with-nul": "registration.id_mismatch",
    "module-name": "registration.id_mismatch",
    "look-alike": "registration.id_mismatch",
    "two-names": "certificate.common_name",
    "no-name": "certificate.common_name",
    "self-signed": "enrollment.unknown",
}


def _specimen(name: str) -> Act:
    async def act(scene: Scene) -> str:
        await scene.by_authority()
        plant = scene.ground.plant
        breeder = Breeder(plant.certificate, plant.key, scene.name, certs.NOW)
        bred = SPECIMENS[name].breed(breeder)
        issued = certs.Issued(bred.chain[0], bred.key, bred.chain[1:])
        if bred.revoked_by is not None:
            await add_list(scene.world, with_signers(*bred.revoked_by))
        return await scene.show(issued=issued, sends=len(bred.chain))

    return act


for _name, _number in _NUMBERS.items():
    _species = SPECIMENS[_name]
    _chapter = ALGORITHMS if _name in _WEAK else CHAPTER
    _chapter(
        _number,
        f"Zoo specimen `{_name}`: {_species.about}.",
        hub=_species.reason,
        dps=_AT_DPS.get(_name, _species.reason),
    )(_specimen(_name))


@attack(
    155,
    "A good chain to a CA that was registered and never proven.",
    hub="chain.untrusted",
    no_twin="nobody has proven the CA; A-200 proves one",
)
async def _unproven(scene: Scene) -> str:
    ca = certs.root(f"Unproven {scene.name}")
    await scene.world.certificates.upload(
        DEFAULT_HUB, "hub", CAName(scene.name), ca.certificate.pem, certs.NOW, by="tests", vouched=False
    )
    await scene.world.create(scene.name, ByAuthority())
    return await scene.show(issued=certs.device(ca, scene.name))


@attack(
    156,
    "A good chain to a CA that provisioning trusts, and the hub does not: a group's CA is no anchor of the hub.",
    hub="chain.untrusted",
)
async def _anchor_of_a_group(scene: Scene) -> str:
    await scene.by_authority()
    ca = certs.root(f"Group {scene.name}")
    await scene.ground.group(scene.name, ca)
    return await scene.show(issued=certs.device(ca, scene.name), sends=2)


@attack(157, "A good chain to a CA that the hub trusts, and no group refers to.", dps="chain.untrusted")
async def _anchor_of_the_hub(scene: Scene) -> str:
    await scene.by_authority()
    ca = certs.root(f"Hub {scene.name}")
    await scene.world.upload(ca, scene.name)
    return await scene.show(issued=certs.device(ca, scene.name), sends=2)


@attack(
    158,
    "A device that a group brought shows a certificate of another CA that is proven on the hub.",
    hub="chain.untrusted",
)
async def _bound_to_a_group(scene: Scene) -> str:
    await scene.ground.with_plant()
    ca = certs.root(f"Group {scene.name}")
    await scene.ground.group(scene.name, ca)
    await scene.world.create(scene.name, ByAuthority(EnrollmentGroupId(scene.name)))
    good = certs.device(ca, scene.name)
    scene.honest = lambda: scene.show(issued=good)
    return await scene.show(issued=certs.device(scene.ground.plant, scene.name), sends=2)


@attack(
    159,
    "Two CAs that signed each other, neither of them known, in a circle behind the certificate.",
    hub="chain.incomplete",
    dps="chain.incomplete",
)
async def _circle(scene: Scene) -> str:
    await scene.by_authority()
    one, two = certs.key_of("circle-one"), certs.key_of("circle-two")
    is_ca = [(certs.IS_A_CA, True)]
    first = certs.odd(
        "Circle One", issuer=certs.Issued(certs.odd("Circle Two", key=two), two), key=one, extensions=is_ca
    )
    second = certs.odd("Circle Two", issuer=certs.Issued(first, one), key=two, extensions=is_ca)
    key = certs.key_of(scene.name)
    leaf = certs.odd(scene.name, issuer=certs.Issued(first, one), key=key)
    return await scene.show(issued=certs.Issued(leaf, key, (first, second)), sends=3)


@attack(
    160,
    "An own root with the name of the plant's CA, sent along as if it were that.",
    hub="chain.untrusted",
    dps="chain.untrusted",
)
async def _own_root_of_that_name(scene: Scene) -> str:
    await scene.by_authority()
    fake = certs.root("Attacked Plant", label="fake")
    return await scene.show(issued=certs.device(fake, scene.name), sends=2)


@attack(
    161,
    "A leaf that another device signed with its own certificate's key, the device's chain behind it.",
    hub="chain.not_a_ca",
    dps="chain.not_a_ca",
)
async def _signed_by_a_device(scene: Scene) -> str:
    await scene.by_authority()
    thief = await scene.by_authority(f"{scene.name}-thief")
    return await scene.show(issued=certs.device(thief, scene.name), sends=3)


@attack(
    162,
    "An intermediate that may only issue below itself nothing (path length 0) signs another CA.",
    hub="chain.path_length",
    dps="chain.path_length",
)
async def _below_path_length_0(scene: Scene) -> str:
    await scene.by_authority()
    narrow = certs.intermediate(scene.ground.plant, "Narrow", path_length=0)
    lower = certs.intermediate(narrow, "Lower")
    return await scene.show(issued=certs.device(lower, scene.name), sends=3)


@attack(
    163,
    "A good certificate of a CA that was removed.",
    hub="chain.incomplete",
    no_twin="the CA is gone, and with it all that it vouched for",
)
async def _removed_ca(scene: Scene) -> str:
    ca = certs.root(f"Removed {scene.name}")
    await scene.world.upload(ca, scene.name)
    await scene.world.create(scene.name, ByAuthority())
    good = certs.device(ca, scene.name)
    assert await scene.show(issued=good) == LET_IN[scene.door]
    await scene.world.certificates.delete(DEFAULT_HUB, "hub", CAName(scene.name), by="tests", if_match=None)
    return await scene.show(issued=good)


@attack(
    164,
    "The good certificate of a device below a group that was disabled, which is itself below one that is not.",
    dps_mqtt=("200 disabled", "enrollment.disabled"),
    dps_https="enrollment.disabled",
    dps_amqp="enrollment.disabled",
)
async def _below_a_disabled_group(scene: Scene) -> str:
    await scene.by_authority()
    line = certs.intermediate(scene.ground.plant, f"Line {scene.name}")
    await scene.ground.group(scene.name, line, provisioningStatus="disabled")
    return await scene.show(issued=certs.device(line, scene.name))


@attack(
    165,
    "A certificate whose common name holds the other device's after a comma and CN=, as text.",
    hub="identity.mismatch",
    dps="registration.id_mismatch",
)
async def _name_in_a_name(scene: Scene) -> str:
    await scene.by_authority()
    key = certs.key_of(scene.name)
    leaf = certs.odd(f"thief,CN={scene.name}", issuer=scene.ground.plant, key=key)
    return await scene.show(issued=certs.Issued(leaf, key))


@attack(
    166,
    "The other device's name in the organization, and no common name at all.",
    hub="identity.common_name",
    dps="certificate.common_name",
)
async def _name_in_the_organisation(scene: Scene) -> str:
    await scene.by_authority()
    key = certs.key_of(scene.name)
    subject = certs.name((x509.NameOID.ORGANIZATION_NAME, scene.name))
    leaf = certs.odd(subject, issuer=scene.ground.plant, key=key)
    return await scene.show(issued=certs.Issued(leaf, key))


# --- algorithms -------------------------------------------------------------------------------------------------------


@algorithm(
    173,
    "An intermediate on a curve that nobody asked for (secp256k1), below the good CA.",
    hub="chain.weak_key",
    dps="chain.weak_key",
)
async def _odd_curve(scene: Scene) -> str:
    await scene.by_authority()
    odd = certs.odd_curve_key()
    ca = certs.odd("Odd Curve CA", issuer=scene.ground.plant, key=odd, extensions=[(certs.IS_A_CA, True)])
    key = certs.key_of(scene.name)
    leaf = certs.odd(scene.name, issuer=certs.Issued(ca, odd), key=key)
    return await scene.show(issued=certs.Issued(leaf, key, (ca,)), sends=2)


@algorithm(
    174,
    "An intermediate with RSA of 1,024 bits, which a university can factor, below the good CA.",
    hub="chain.weak_key",
    dps="chain.weak_key",
)
async def _weak_intermediate(scene: Scene) -> str:
    await scene.by_authority()
    weak = certs.weak_rsa_key()
    ca = certs.odd("Weak CA", issuer=scene.ground.plant, key=weak, extensions=[(certs.IS_A_CA, True)])
    key = certs.key_of(scene.name)
    leaf = certs.odd(scene.name, issuer=certs.Issued(ca, weak), key=key)
    return await scene.show(issued=certs.Issued(leaf, key, (ca,)), sends=2)


@algorithm(
    175,
    "The signature is all zeros (r = s = 0).",
    hub="chain.signature",
    dps="chain.signature",
)
async def _zero_signature(scene: Scene) -> str:
    await scene.by_authority()
    good = certs.device(scene.ground.plant, scene.name, label="zeros")
    return await scene.show(
        issued=certs.Issued(_resigned(good.certificate, bytes.fromhex("3006020100020100")), good.key)
    )


@algorithm(
    176,
    "The signature of another certificate of the same CA, put under this one.",
    hub="chain.signature",
    dps="chain.signature",
)
async def _borrowed_signature(scene: Scene) -> str:
    await scene.by_authority()
    good = certs.device(scene.ground.plant, scene.name, label="borrowed")
    lender = certs.device(scene.ground.plant, f"{scene.name}-thief")
    return await scene.show(
        issued=certs.Issued(_resigned(good.certificate, lender.certificate.x509.signature), good.key)
    )


@algorithm(
    178,
    "A pinned certificate with RSA of 1,024 bits: the operator's mistake, or somebody's wish.",
    hub="chain.weak_key",
    no_twin="the pin itself is what is refused; A-250 lets one in",
)
async def _weak_pinned(scene: Scene) -> str:
    key = certs.weak_rsa_key()
    weak = certs.Issued(certs.odd(scene.name, key=key), key)
    await scene.pinned(issued=weak)
    scene.honest = None
    return await scene.show(issued=weak)


def _resigned(certificate: Certificate, signature: bytes) -> Certificate:
    """`certificate` with other bytes for its signature, lengths put right."""
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    bits = b"\x00" + signature
    content = certificate.x509.tbs_certificate_bytes + algorithm + b"\x03" + bytes((len(bits),)) + bits
    return Certificate(b"\x30\x82" + len(content).to_bytes(2, "big") + content)
