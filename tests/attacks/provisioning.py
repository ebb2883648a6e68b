"""Tricks across the provisioning service's walls: scopes, names, enrollments and groups of others."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

from moorage.ids import RegistrationId, Secret
from moorage.pki.issue import issue_verification
from moorage.protocols.mqtt.packets import Publish
from moorage.provisioning.attestation import derive_key
from tests import certs
from tests.attacks.scene import Scene, ask_registration
from tests.attacks.table import Chapter
from tests.servers.clients import tls_context
from tests.servers.http_clients import RawHTTP
from tests.servers.world import KEY

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Across provisioning's walls")

MASTER = Secret(base64.b64encode(b"m" * 32).decode())


@attack(300, "A good device with another service's id scope.", dps="scope.unknown")
async def _wrong_scope(scene: Scene) -> str:
    return await scene.show(issued=await scene.by_authority(), scope="0ne00000000")


@attack(301, "A good token for another service's id scope.", dps="token.audience")
async def _token_of_another_scope(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(audience=f"0ne00000000/registrations/{scene.name}"))


@attack(302, "A good token for another registration id.", dps="token.audience")
async def _token_of_another_name(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(f"{scene.name}-thief"))


@attack(303, "The certificate of another individual enrollment.", dps="attestation.thumbprint")
async def _another_enrollment(scene: Scene) -> str:
    await scene.pinned()
    return await scene.show(issued=await scene.pinned(f"{scene.name}-thief"))


@attack(
    304,
    "A certificate that a group would take, for a name that has an individual enrollment: that decides alone.",
    dps="attestation.thumbprint",
)
async def _group_for_an_individual(scene: Scene) -> str:
    await scene.ground.with_plant()
    await scene.pinned()
    return await scene.show(issued=certs.device(scene.ground.plant, scene.name))


@attack(
    305,
    "The same, while the individual enrollment is disabled: it is no way around that.",
    dps="attestation.thumbprint",
    no_twin="the individual enrollment is disabled; A-304 lets its device in",
)
async def _group_for_a_disabled_individual(scene: Scene) -> str:
    await scene.ground.with_plant()
    await scene.enroll_pinned(scene.name, certs.self_signed(scene.name), provisioningStatus="disabled")
    return await scene.show(issued=certs.device(scene.ground.plant, scene.name))


@attack(
    306,
    "The right certificate for the name of an individual enrollment in upper case.",
    dps=("409201", "registration.case_conflict"),
)
async def _upper_case(scene: Scene) -> str:
    good = await scene.pinned()
    return await scene.show(scene.name.upper(), issued=good)


@attack(
    307,
    "A second spelling of a name that registered through a group, with a certificate of its own.",
    dps=("409201", "registration.case_conflict"),
)
async def _second_spelling(scene: Scene) -> str:
    good = await scene.by_authority()
    assert await scene.show(issued=good) == "202"
    other = scene.name.upper()
    return await scene.show(other, issued=certs.device(scene.ground.plant, other))


@attack(308, "A group's leaf for another device of the group.", dps="registration.id_mismatch")
async def _leaf_of_another(scene: Scene) -> str:
    await scene.by_authority()
    return await scene.show(issued=certs.device(scene.ground.plant, f"{scene.name}-thief"))


async def _derived(scene: Scene, name: str | None = None) -> Secret:
    """The key of a device of the group with MASTER, which lets the case's device in."""
    await scene.ground.once("keys", lambda: scene.ground.key_group("attacked-keys", MASTER))
    own = derive_key(MASTER, RegistrationId(scene.name))
    scene.honest = lambda: scene.show(token=scene.token(key=own))
    return derive_key(MASTER, RegistrationId(name or scene.name))


@attack(310, "The derived key of another device of the group.", dps="enrollment.unknown")
async def _derived_for_another(scene: Scene) -> str:
    return await scene.show(token=scene.token(key=await _derived(scene, f"{scene.name}-thief")))


@attack(311, "A key derived for the name in upper case.", dps="enrollment.unknown")
async def _derived_in_upper_case(scene: Scene) -> str:
    return await scene.show(token=scene.token(key=await _derived(scene, scene.name.upper())))


@attack(312, "The group's own key, which no device has, as the device's.", dps="enrollment.unknown")
async def _master_key(scene: Scene) -> str:
    await _derived(scene)
    return await scene.show(token=scene.token(key=MASTER))


@attack(313, "A token that names a policy of the provisioning service.", dps="token.policy")
async def _names_a_policy(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(policy="provisioningserviceowner"))


@attack(314, "A token of the service's own policy, good for its API, as a device's.", dps="token.audience")
async def _policy_token(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.ground.policy_token("dps", "provisioningserviceowner"))


@attack(315, "A token that is good for the hub, at the provisioning service.", dps="token.audience")
async def _hub_token(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(audience=f"localhost/devices/{scene.name}"))


@attack(
    316,
    "A good device names another registration in the body of its request.",
    dps=("400004", "body.id"),
)
async def _another_in_the_body(scene: Scene) -> str:
    good = await scene.by_authority()
    return await scene.show(issued=good, body=json.dumps({"registrationId": f"{scene.name}-victim"}).encode())


@attack(
    317,
    "A good device asks for a new certificate of the hub's making.",
    dps=("400004", "registration.csr"),
)
async def _asks_for_a_certificate(scene: Scene) -> str:
    good = await scene.by_authority()
    return await scene.show(issued=good, body=b'{"csr":"MIIB"}')


@attack(
    318,
    "A good device asks what became of another device's operation.",
    dps=("404202", "operation.unknown"),
)
async def _operation_of_another(scene: Scene) -> str:
    good = await scene.by_authority()
    victim = f"{scene.name}-victim"
    operation = await _operation(scene, victim, await scene.by_authority(victim))
    assert await scene.show(issued=good) == "202"
    return (await _polled(scene, scene.name, good, operation))[0]


async def _operation(scene: Scene, name: str, issued: certs.Issued) -> str:
    """Registers over HTTPS; the operation that it was told."""
    context = tls_context(scene.world.app.info().ca_bundle, issued)
    path = f"/{scene.ground.scope}/registrations/{name}/register?api-version=2021-06-01"
    async with RawHTTP(scene.world, context) as http:
        http.ask("PUT", path, body=b"{}")
        answer = await http.response()
    return str(json.loads(answer.body)["operationId"])


async def _polled(scene: Scene, name: str, issued: certs.Issued, operation: str) -> tuple[str, Any]:
    if scene.is_amqp:
        opened = await scene.open_amqp(issued)
        address = f"{scene.ground.scope}/registrations/{name}"
        asked = {"iotdps-operation-type": "iotdps-get-operationstatus", "iotdps-operation-id": operation}
        return await ask_registration(opened, address, b"", **asked), None
    if scene.door == "DPS MQTT":
        client = await scene.dial(issued)
        await client.say_hello(name, user_name=f"{scene.ground.scope}/registrations/{name}/api-version=2019-03-31")
        await client.subscribe("$dps/registrations/res/#")
        topic = f"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId={quote(operation)}"
        client.publish(topic, b" ")
        await client.acks(1)
        document = json.loads((await client.expect(Publish)).body)
    else:
        context = tls_context(scene.world.app.info().ca_bundle, issued)
        path = f"/{scene.ground.scope}/registrations/{name}/operations/{quote(operation)}?api-version=2021-06-01"
        async with RawHTTP(scene.world, context) as http:
            http.ask("GET", path)
            document = json.loads((await http.response()).body)
    return str(document.get("errorCode", "200")), document


@attack(
    324,
    "A good device listens on a link for what another registration is answered.",
    dps_amqp=("silent", ""),
)
async def _listens_for_another(scene: Scene) -> str:
    await scene.by_authority()
    own = f"{scene.name}-thief"
    thief = await scene.open_amqp(await scene.by_authority(own))
    link = await thief.attach(f"{scene.ground.scope}/registrations/{scene.name}", is_sender=False, credit=8)
    assert link.error is None, "links are accepted, whoever asks"
    assert scene.honest is not None and await scene.honest() == "202"
    assert await ask_registration(thief, f"{scene.ground.scope}/registrations/{own}", b"{}") == "202"
    return "silent" if await thief.is_silent() else "heard"


@attack(
    325,
    "A question for another registration, on a link of the own one, by an annotation, a subject and a reply address.",
    dps_amqp=("own", ""),
)
async def _asks_for_another(scene: Scene) -> str:
    await scene.by_authority()
    own = f"{scene.name}-thief"
    thief = await scene.open_amqp(await scene.by_authority(own))
    address = f"{scene.ground.scope}/registrations/{own}"
    named = {"registrationId": scene.name, "iotdps-registration-id": scene.name, "iotdps-forced": True}
    assert await ask_registration(thief, address, b"{}", **named) == "202"
    path = f"/registrations/{scene.name}?api-version=2021-10-01"
    found = await scene.ground.call(
        "GET", path, credential=scene.ground.policy_token("dps", "provisioningserviceowner")
    )
    return "own" if found.status == 404 else f"another's: {found}"


@attack(319, "Nobody knows the device, and it shows a certificate that it signed itself.", dps="enrollment.unknown")
async def _stranger(scene: Scene) -> str:
    await scene.by_authority()
    return await scene.show(f"{scene.name}-stranger", issued=certs.self_signed(f"{scene.name}-stranger"))


@attack(
    320,
    "A registration id with a slash, and one that leads elsewhere.",
    dps_https=("400004", "id.registration"),
    dps_amqp=("400004", "id.registration"),
)
async def _slash(scene: Scene) -> str:
    good = await scene.by_authority()
    return await scene.show(f"{scene.name}/../x", issued=good)


@attack(
    321,
    "A good device of a group, by the key of an individual enrollment that is for another device.",
    dps="attestation.kind",
)
async def _key_for_a_certificate(scene: Scene) -> str:
    await scene.pinned()
    return await scene.show(token=scene.token(key=KEY))


@attack(
    322,
    "A chain that ends in a CA which is proven for provisioning, and no group refers to it.",
    dps=("404201", "enrollment.unknown"),
)
async def _proven_without_group(scene: Scene) -> str:
    await scene.by_authority()
    ca = certs.root(f"Alone {scene.name}")
    body = {"certificate": ca.certificate.pem, "isVerified": True}
    await scene.ground.arrange("PUT", f"/moorage/v1/dps/certificates/{scene.name}", body)
    return await scene.show(issued=certs.device(ca, scene.name), sends=2)


@attack(
    323,
    "A group whose certificate nobody has proven, where nobody's word is taken for it.",
    dps="enrollment.unproven",
    own_hub={"vouched_certificates": False},
)
async def _unproven(scene: Scene) -> str:
    ca = certs.root(f"Unproven {scene.name}")
    await scene.ground.group(scene.name, ca)
    good = certs.device(ca, scene.name)

    async def honest() -> str:
        path = f"/moorage/v1/enrollment-groups/{scene.name}/certificates/primary"
        code = (await scene.ground.arrange("POST", f"{path}/code"))["verificationCode"]
        proof = issue_verification(ca.certificate, ca.key, code, now=certs.NOW)
        await scene.ground.arrange("POST", f"{path}/verify", {"certificate": proof.pem})
        return await scene.show(issued=good)

    scene.honest = honest
    return await scene.show(issued=good)
