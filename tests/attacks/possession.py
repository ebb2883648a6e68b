"""Registration and proof of possession: the CA's certificate is public, and its key is not the attacker's.

The attacker has the owner's bearer, so that nothing else stops what the proof has to stop.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from cryptography import x509

from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_verification
from tests import certs
from tests.attacks.scene import DPS_API, Scene
from tests.attacks.table import Chapter

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Registration and proof of possession")


def _path(scene: Scene, name: str | None = None) -> str:
    return f"/moorage/v1/hub/certificates/{name or scene.name}"


async def _uploaded(scene: Scene, name: str | None = None) -> certs.Issued:
    """An unproven CA under the case's name, which its owner can prove."""
    ca = certs.root(f"Proven {name or scene.name}")
    await scene.ground.arrange("PUT", _path(scene, name), {"certificate": ca.certificate.pem})

    async def honest() -> str:
        good = issue_verification(ca.certificate, ca.key, await _code(scene, name), now=certs.NOW)
        return await _verify(scene, good, name)

    if name is None:
        scene.honest = honest
    return ca


async def _code(scene: Scene, name: str | None = None) -> str:
    answer = await scene.ground.arrange("POST", f"{_path(scene, name)}/generateVerificationCode")
    return str(answer["properties"]["verificationCode"])


async def _verify(scene: Scene, proof: Certificate, name: str | None = None, *headers: str) -> str:
    body = {"certificate": proof.pem}
    return await scene.request("POST", f"{_path(scene, name)}/verify", body, *headers, credential=scene.ground.bearer())


def _bad(reason: str) -> tuple[str, str]:
    return "400 ArgumentInvalid", reason


@attack(200, "The CA's certificate, and a proof signed by a key of the attacker's.", service=_bad("proof.wrong_signer"))
async def _another_key(scene: Scene) -> str:
    ca = await _uploaded(scene)
    fake = certs.root(ca.certificate.x509.subject.rfc4514_string().removeprefix("CN="), label="fake")
    return await _verify(scene, issue_verification(fake.certificate, fake.key, await _code(scene), now=certs.NOW))


@attack(201, "A proof for the code of another CA's slot.", service=_bad("proof.wrong_code"))
async def _code_of_another(scene: Scene) -> str:
    ca = await _uploaded(scene)
    await _uploaded(scene, f"{scene.name}-2")
    await _code(scene)
    code = await _code(scene, f"{scene.name}-2")
    return await _verify(scene, issue_verification(ca.certificate, ca.key, code, now=certs.NOW))


@attack(202, "A proof that was good once, sent a second time.", service=_bad("proof.no_code"))
async def _replayed(scene: Scene) -> str:
    ca = await _uploaded(scene)
    proof = issue_verification(ca.certificate, ca.key, await _code(scene), now=certs.NOW)
    assert await _verify(scene, proof) == "200"
    return await _verify(scene, proof)


@attack(203, "A proof for a code that ran out.", service=_bad("proof.code_expired"), own_hub={})
async def _late(scene: Scene) -> str:
    ca = await _uploaded(scene)
    code = await _code(scene)
    scene.world.clock.advance(timedelta(days=7, seconds=1).total_seconds())
    proof = issue_verification(ca.certificate, ca.key, code, now=scene.world.clock.now())
    answer = await _verify(scene, proof)

    async def honest() -> str:
        again = issue_verification(ca.certificate, ca.key, await _code(scene), now=scene.world.clock.now())
        return await _verify(scene, again)

    scene.honest = honest
    return answer


@attack(204, "A proof for the code before the current one.", service=_bad("proof.wrong_code"))
async def _earlier(scene: Scene) -> str:
    ca = await _uploaded(scene)
    code = await _code(scene)
    await _code(scene)
    return await _verify(scene, issue_verification(ca.certificate, ca.key, code, now=certs.NOW))


@attack(205, "A proof whose common name is the code in lower case.", service=_bad("proof.wrong_code"))
async def _lower_case(scene: Scene) -> str:
    ca = await _uploaded(scene)
    code = (await _code(scene)).lower()
    return await _verify(scene, issue_verification(ca.certificate, ca.key, code, now=certs.NOW))


@attack(206, "A proof with two common names, one of them the code.", service=_bad("proof.wrong_code"))
async def _two_names(scene: Scene) -> str:
    ca = await _uploaded(scene)
    common = x509.NameOID.COMMON_NAME
    return await _verify(scene, certs.odd(certs.name((common, await _code(scene)), (common, "more")), issuer=ca))


@attack(207, "The code as an alternative name, and another common name.", service=_bad("proof.wrong_code"))
async def _alternative_name(scene: Scene) -> str:
    ca = await _uploaded(scene)
    names = x509.SubjectAlternativeName([x509.DNSName(await _code(scene))])
    return await _verify(scene, certs.odd("thief", issuer=ca, extensions=[(names, False)]))


@attack(
    208,
    "A proof signed by a good intermediate of the CA: whoever holds that does not hold the CA.",
    service=_bad("proof.wrong_signer"),
)
async def _by_an_intermediate(scene: Scene) -> str:
    ca = await _uploaded(scene)
    line = certs.intermediate(ca, f"Line {scene.name}")
    return await _verify(scene, issue_verification(line.certificate, line.key, await _code(scene), now=certs.NOW))


@attack(209, "A self-signed certificate that carries the code.", service=_bad("proof.wrong_signer"))
async def _self_signed(scene: Scene) -> str:
    await _uploaded(scene)
    return await _verify(scene, certs.self_signed(await _code(scene), label=scene.name).certificate)


@attack(210, "A proof that names the CA as its issuer, self-signed.", service=_bad("proof.wrong_signer"))
async def _names_the_issuer(scene: Scene) -> str:
    ca = await _uploaded(scene)
    return await _verify(scene, certs.odd(await _code(scene), issuer_name=ca.certificate.x509.subject))


@attack(211, "A proof whose own dates have passed.", service=_bad("proof.expired"))
async def _expired(scene: Scene) -> str:
    ca = await _uploaded(scene)
    ended = certs.NOW - timedelta(days=1)
    proof = certs.odd(await _code(scene), issuer=ca, not_before=ended - timedelta(days=1), not_after=ended)
    return await _verify(scene, proof)


@attack(212, "A proof whose own dates have not begun.", service=_bad("proof.not_yet_valid"))
async def _not_yet(scene: Scene) -> str:
    ca = await _uploaded(scene)
    return await _verify(scene, certs.odd(await _code(scene), issuer=ca, not_before=certs.NOW + timedelta(days=1)))


@attack(
    213,
    "A good proof for the state that was read before somebody else asked for another code.",
    service=("412 PreconditionFailed", "etag.stale"),
)
async def _stale(scene: Scene) -> str:
    ca = await _uploaded(scene)
    etag = (await scene.ground.arrange("GET", _path(scene)))["etag"]
    proof = issue_verification(ca.certificate, ca.key, await _code(scene), now=certs.NOW)
    return await _verify(scene, proof, None, f'If-Match: "{etag}"')


@attack(
    214,
    "The certificate is replaced after the code was made, and the code proven with the new one's key.",
    service=_bad("proof.no_code"),
)
async def _replaced(scene: Scene) -> str:
    ca = await _uploaded(scene)
    code = await _code(scene)
    fake = certs.root(f"Proven {scene.name}", label="fake")
    replaced = await scene.request(
        "PUT", _path(scene), {"certificate": fake.certificate.pem}, "If-Match: *", credential=scene.ground.bearer()
    )
    assert replaced == "200"
    answer = await _verify(scene, issue_verification(fake.certificate, fake.key, code, now=certs.NOW))
    proven = scene.honest

    async def honest() -> str:
        body = {"certificate": ca.certificate.pem}
        await scene.request("PUT", _path(scene), body, "If-Match: *", credential=scene.ground.bearer())
        assert proven is not None
        return await proven()

    scene.honest = honest
    return answer


@attack(
    215,
    "A proven CA's certificate is replaced by the attacker's: the proof does not pass on to it.",
    service=("False", ""),
)
async def _proof_stays_behind(scene: Scene) -> str:
    ca = await _uploaded(scene)
    assert scene.honest is not None
    assert await scene.honest() == "200"
    fake = certs.root(f"Proven {scene.name}", label="fake")
    body = {"certificate": fake.certificate.pem}
    answer = await scene.ground.call("PUT", _path(scene), body, "If-Match: *", credential=scene.ground.bearer())
    await scene.request(
        "PUT", _path(scene), {"certificate": ca.certificate.pem}, "If-Match: *", credential=scene.ground.bearer()
    )
    return str(json.loads(answer.body)["properties"]["isVerified"])


@attack(216, "A device's certificate, uploaded as a CA.", service=_bad("ca.not_a_ca"))
async def _leaf_as_ca(scene: Scene) -> str:
    await _uploaded(scene)
    return await _upload(scene, certs.device(scene.ground.plant, scene.name).certificate.pem)


@attack(
    217,
    "A file that holds the private key with the certificate: it is refused, and not kept.",
    service=_bad("certificate.private_key"),
)
async def _with_its_key(scene: Scene) -> str:
    ca = await _uploaded(scene)
    return await _upload(scene, ca.certificate.pem + ca.key_pem().decode())


async def _upload(scene: Scene, pem: str) -> str:
    return await scene.request(
        "PUT", _path(scene, f"{scene.name}-2"), {"certificate": pem}, credential=scene.ground.bearer()
    )


@attack(
    218,
    "A policy of the hub that may write its registry, without the owner's bearer, proves a CA.",
    service="token.policy_rights",
)
async def _without_the_owner(scene: Scene) -> str:
    ca = await _uploaded(scene)
    proof = issue_verification(ca.certificate, ca.key, await _code(scene), now=certs.NOW)
    return await scene.request(
        "POST", f"{_path(scene)}/verify", {"certificate": proof.pem}, credential=scene.ground.policy_token()
    )


# --- the certificates of groups ---------------------------------------------------------------------------------------


async def _group(scene: Scene, name: str | None = None) -> certs.Issued:
    """A group with two certificates of its own; the primary one."""
    name = name or scene.name
    ca, other = certs.root(f"Group {name}"), certs.root(f"Group {name} 2")
    slots = {slot: {"certificate": each.certificate.pem} for slot, each in (("primary", ca), ("secondary", other))}
    attestation = {"type": "x509", "x509": {"signingCertificates": slots}}
    body = {"enrollmentGroupId": name, "attestation": attestation}
    await scene.ground.arrange("PUT", f"/enrollmentGroups/{name}?{DPS_API}", body)

    async def honest() -> str:
        code = await _slot_code(scene, name, "primary")
        return await _prove_slot(scene, name, issue_verification(ca.certificate, ca.key, code, now=certs.NOW))

    if name == scene.name:
        scene.honest = honest
    return ca


async def _slot_code(scene: Scene, name: str, slot: str) -> str:
    path = f"/moorage/v1/enrollment-groups/{name}/certificates/{slot}/code"
    answer: Any = await scene.ground.arrange("POST", path)
    return str(answer["verificationCode"])


async def _prove_slot(scene: Scene, name: str, proof: Certificate) -> str:
    path = f"/moorage/v1/enrollment-groups/{name}/certificates/primary/verify"
    return await scene.request("POST", path, {"certificate": proof.pem}, credential=scene.ground.bearer())


@attack(220, "A proof for the code of the group's other slot.", service=_bad("proof.wrong_code"))
async def _code_of_the_other_slot(scene: Scene) -> str:
    ca = await _group(scene)
    await _slot_code(scene, scene.name, "primary")
    code = await _slot_code(scene, scene.name, "secondary")
    return await _prove_slot(scene, scene.name, issue_verification(ca.certificate, ca.key, code, now=certs.NOW))


@attack(221, "A proof for the code of another group's slot.", service=_bad("proof.wrong_code"))
async def _code_of_another_group(scene: Scene) -> str:
    ca = await _group(scene)
    await _group(scene, f"{scene.name}-2")
    await _slot_code(scene, scene.name, "primary")
    code = await _slot_code(scene, f"{scene.name}-2", "primary")
    return await _prove_slot(scene, scene.name, issue_verification(ca.certificate, ca.key, code, now=certs.NOW))


@attack(222, "The group's slot is proven with a key that is not its certificate's.", service=_bad("proof.wrong_signer"))
async def _slot_by_another_key(scene: Scene) -> str:
    await _group(scene)
    fake = certs.root(f"Group {scene.name}", label="fake")
    code = await _slot_code(scene, scene.name, "primary")
    return await _prove_slot(scene, scene.name, issue_verification(fake.certificate, fake.key, code, now=certs.NOW))


@attack(223, "The proof of a group's slot, sent a second time.", service=_bad("proof.no_code"))
async def _slot_replayed(scene: Scene) -> str:
    ca = await _group(scene)
    code = await _slot_code(scene, scene.name, "primary")
    proof = issue_verification(ca.certificate, ca.key, code, now=certs.NOW)
    assert await _prove_slot(scene, scene.name, proof) == "200"
    return await _prove_slot(scene, scene.name, proof)
