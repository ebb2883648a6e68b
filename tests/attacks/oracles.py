"""Oracles: what a stranger could learn from how he is refused. He must hear the same, whoever exists (decisions T7)."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable

from moorage.identities.model import ByAuthority
from moorage.protocols.amqp.performatives import Close
from moorage.protocols.amqp.sasl import ANONYMOUS, EXTERNAL, PLAIN
from tests import certs
from tests.attacks.scene import API, Scene, ask_registration, device_address, forged
from tests.attacks.table import Chapter
from tests.attacks.tokens import FOREIGN
from tests.servers.amqp_clients import AMQPClient, plain_response
from tests.servers.clients import tls_context
from tests.servers.http_clients import RawHTTP, Response

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Oracles", no_amqp="asked of AMQP in A-760 and those behind it")

_SAME = "one answer"
_OF_THE_MOMENT = re.compile(rb'"?[0-9A-F]{32}"?|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|[0-9/]{10} [0-9:]{8}')


async def _alike(*asked: Callable[[], Awaitable[object]]) -> str:
    heard = [await ask() for ask in asked]
    assert len(heard) > 1
    return _SAME if all(each == heard[0] for each in heard) else f"{heard}"[:2000]


def _of(answer: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of it but the tracking id and the time."""
    headers = sorted((name, value) for name, value in answer.headers.items() if name != "date")
    return answer.status, headers, _OF_THE_MOMENT.sub(b"*", answer.body)


@attack(
    750,
    "A stranger with a certificate of his own tries names: unknown, known, disabled, with a key, by a CA.",
    hub=(_SAME, "identity.certificate_missing"),
)
async def _names(scene: Scene) -> str:
    await scene.pinned()
    disabled, keyed, signed = (f"{scene.name}-{kind}" for kind in ("disabled", "keyed", "signed"))
    await scene.pinned(disabled)
    await scene.world.set_status(disabled, "disabled")
    await scene.by_key(keyed)
    await scene.world.create(signed, ByAuthority())
    own = certs.self_signed("stranger")
    return await _alike(
        *(
            lambda name=name: scene.show(name, issued=own)
            for name in (f"{scene.name}-unknown", disabled, keyed, signed, scene.name)
        ),
        scene.show,
    )


@attack(751, "A stranger without anything tries names.", dps_https=(_SAME, "credential.missing"))
async def _registrations(scene: Scene) -> str:
    await scene.pinned()
    disabled = f"{scene.name}-disabled"
    await scene.enroll_pinned(disabled, certs.self_signed(disabled), provisioningStatus="disabled")
    names = (scene.name, disabled, f"{scene.name}-unknown")
    return await _alike(*(lambda name=name: _registers(scene, name) for name in names))


@attack(
    752,
    "A stranger with a certificate of his own tries registrations: known, disabled, by key, unknown, another scope.",
    dps_https=(_SAME, "scope.unknown"),
)
async def _with_a_certificate(scene: Scene) -> str:
    await scene.pinned()
    disabled = f"{scene.name}-disabled"
    await scene.enroll_pinned(disabled, certs.self_signed(disabled), provisioningStatus="disabled")
    await scene.by_key(f"{scene.name}-keyed")
    own = certs.self_signed("stranger")
    names = (scene.name, disabled, f"{scene.name}-keyed", f"{scene.name}-unknown")
    return await _alike(
        *(lambda name=name: _registers(scene, name, own) for name in names),
        lambda: _registers(scene, scene.name, own, scope="0ne00000000"),
    )


async def _registers(
    scene: Scene, name: str, issued: certs.Issued | None = None, *, scope: str = ""
) -> tuple[int, list[tuple[str, str]], bytes]:
    context = tls_context(scene.world.app.info().ca_bundle, issued)
    path = f"/{scope or scene.ground.scope}/registrations/{name}/register?api-version=2021-06-01"
    async with RawHTTP(scene.world, context) as http:
        http.ask("PUT", path, body=b"{}")
        return _of(await http.response())


@attack(753, "The same over MQTT.", dps_mqtt=(_SAME, "scope.unknown"))
async def _over_mqtt(scene: Scene) -> str:
    await scene.pinned()
    disabled = f"{scene.name}-disabled"
    await scene.enroll_pinned(disabled, certs.self_signed(disabled), provisioningStatus="disabled")
    own = certs.self_signed("stranger")
    names = (scene.name, disabled, f"{scene.name}-unknown")
    return await _alike(
        *(lambda name=name: scene.show(name, issued=own) for name in names),
        lambda: scene.show(issued=own, scope="0ne00000000"),
    )


@attack(
    754,
    "Somebody without a credential reads devices: one that is there, one that is not, one that cannot be.",
    service=(_SAME, "authorization.missing"),
)
async def _reads_without(scene: Scene) -> str:
    await scene.by_key()
    names = (scene.name, "unknown", "%00")
    return await _alike(*(lambda name=name: _read(scene, name) for name in names))


@attack(
    755,
    "Tokens that are forged with names of policies: one that is there, one that is not.",
    service=(_SAME, "token.policy_unknown"),
)
async def _policies(scene: Scene) -> str:
    await scene.by_key()
    tokens = (
        forged("localhost", scene.expiry(), FOREIGN, policy="iothubowner"),
        forged("localhost", scene.expiry(), FOREIGN, policy="nobody"),
    )
    return await _alike(*(lambda token=token: _read(scene, scene.name, token) for token in tokens))


@attack(
    756,
    "A token for one device asks for others: one that is there, one that is not.",
    service=(_SAME, "token.audience"),
)
async def _others(scene: Scene) -> str:
    await scene.by_key()
    await scene.by_key(f"{scene.name}-other")
    token = scene.token()
    names = (f"{scene.name}-other", "unknown")
    return await _alike(*(lambda name=name: _read(scene, name, token) for name in names))


async def _read(scene: Scene, name: str, token: str | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
    return _of(await scene.ground.call("GET", f"/devices/{name}?{API}", credential=token))


@attack(
    757,
    "A device of the fleet asks for others over MQTT: one that is there, one that is not.",
    hub=(_SAME, "identity.unknown"),
)
async def _fleet(scene: Scene) -> str:
    await scene.by_authority()
    own = await scene.by_authority(f"{scene.name}-thief")
    names = (scene.name, f"{scene.name}-unknown")
    return await _alike(*(lambda name=name: scene.show(name, issued=own) for name in names))


@attack(
    758,
    "What a refused stranger is told holds neither a name nor a reason.",
    service=("nothing", "token.signature"),
    dps_https=("nothing", "attestation.thumbprint"),
)
async def _told(scene: Scene) -> str:
    if scene.door == "service REST":
        await scene.by_key()
        token = forged("localhost", scene.expiry(), FOREIGN, policy="iothubowner")
        answer = await scene.ground.call("GET", f"/devices/{scene.name}?{API}", credential=token)
        told = json.loads(answer.body)["Message"] + str(answer.headers)
    else:
        await scene.pinned()
        context = tls_context(scene.world.app.info().ca_bundle, certs.self_signed("stranger"))
        async with RawHTTP(scene.world, context) as http:
            http.ask("PUT", f"/{scene.ground.scope}/registrations/{scene.name}/register?{API}", body=b"{}")
            answer = await http.response()
        told = json.loads(answer.body)["message"] + str(answer.headers)
    leaks = [word for word in (scene.name, "signature", "thumbprint", "iothubowner", "enroll") if word in told]
    return f"told {leaks}" if leaks else "nothing"


# --- over AMQP: each byte of each frame, how many there are, and how the connection ends ------------------------------


async def _victims(scene: Scene) -> tuple[str, ...]:
    """Devices of every kind that there may be, and one that there is not; all names are of one length."""
    names = tuple(f"{scene.name}-{kind}" for kind in ("pinned", "locked", "signed", "module", "opened", "nobody"))
    pinned, locked, signed, _, opened, _ = names
    await scene.pinned(pinned)
    await scene.pinned(locked)
    await scene.world.set_status(locked, "disabled")
    await scene.by_key(opened)
    await scene.world.create(signed, ByAuthority())
    return names


async def _all_of(client: AMQPClient) -> list[bytes]:
    """All that is said until the hub closes in answer to a close; numbers of attempts, which differ, left out."""
    client.say(Close())
    await client.rest()
    return [_OF_THE_MOMENT.sub(b"*", frame.data) for frame in client.frames]


async def _attaches(
    scene: Scene,
    name: str,
    issued: certs.Issued | None = None,
    token: str | None = None,
    *,
    is_plain: bool = False,
) -> list[bytes]:
    """Links of several kinds on one connection with this credential."""
    client = await scene.dial_amqp(issued)
    if is_plain:
        assert token is not None
        if await client.say_hello(PLAIN, plain_response(f"{name}@sas.localhost", token)):
            await client.rest()
            return [frame.data for frame in client.frames]
    else:
        await client.say_hello(ANONYMOUS if issued is None else EXTERNAL)
        if token is not None:
            await client.put_token(token)
    for rest, is_sender in (("messages/events", True), ("messages/devicebound", False), ("twin", False)):
        link = await client.attach(device_address(name, rest), is_sender=is_sender)
        assert link.error is not None
    return await _all_of(client)


_LINKS = "and compares all that is said when links are refused"


@attack(
    760,
    f"A stranger with a certificate of his own tries names over AMQP, {_LINKS}.",
    hub_amqp=(_SAME, "identity.unknown"),
)
async def _links_by_certificate(scene: Scene) -> str:
    names = await _victims(scene)
    scene.honest = await _honest(scene)
    own = certs.self_signed("stranger")
    return await _alike(*(lambda name=name: _attaches(scene, name, own) for name in names))


async def _honest(scene: Scene) -> Callable[[], Awaitable[str]]:
    good = await scene.by_authority()
    return lambda: scene.show(issued=good)


@attack(761, f"The same with nothing at all, {_LINKS}.", hub_amqp=(_SAME, "identity.unknown"))
async def _links_by_nothing(scene: Scene) -> str:
    names = await _victims(scene)
    scene.honest = await _honest(scene)
    return await _alike(*(lambda name=name: _attaches(scene, name) for name in names))


@attack(
    762,
    "The same with a token by CBS for each name, signed with a key of his own: answers to tokens are alike too.",
    hub_amqp=(_SAME, "identity.unknown"),
)
async def _links_by_token(scene: Scene) -> str:
    names = await _victims(scene)
    scene.honest = await _honest(scene)
    return await _alike(
        *(lambda name=name: _attaches(scene, name, token=scene.token(name, key=FOREIGN)) for name in names)
    )


@attack(763, "The same with the token in SASL PLAIN.", hub_plain=(_SAME, "identity.unknown"))
async def _links_by_plain(scene: Scene) -> str:
    names = await _victims(scene)
    scene.honest = await _honest(scene)
    return await _alike(
        *(
            lambda name=name: _attaches(scene, name, token=scene.token(name, key=FOREIGN), is_plain=True)
            for name in names
        )
    )


@attack(
    764,
    "Tokens by CBS that are forged with names of policies: one that is there, one that is not.",
    service_amqp=(_SAME, "token.policy_unknown"),
)
async def _policies_by_cbs(scene: Scene) -> str:
    await scene.by_key()

    async def puts(policy: str) -> list[bytes]:
        client = await scene.open_amqp()
        await client.put_token(forged("localhost", scene.expiry(), FOREIGN, policy=policy))
        return await _all_of(client)

    return await _alike(lambda: puts("iothubowner"), lambda: puts("iothubnobod"))


@attack(
    765,
    "A device of the fleet asks for others over AMQP, on the connection that let it in.",
    hub_amqp=(_SAME, "identity.unknown"),
)
async def _fleet_by_links(scene: Scene) -> str:
    names = await _victims(scene)
    scene.honest = await _honest(scene)
    own = await scene.by_authority(f"{scene.name}-thief")
    return await _alike(*(lambda name=name: _attaches(scene, name, own) for name in names))


@attack(
    766,
    "A device with a good token asks whether others are there, by the outcomes of what it is told.",
    hub_amqp=(_SAME, "identity.unknown"),
)
async def _fleet_by_token(scene: Scene) -> str:
    names = await _victims(scene)
    scene.honest = await _honest(scene)
    await scene.by_key(f"{scene.name}-thief")
    token = scene.token(f"{scene.name}-thief")
    return await _alike(*(lambda name=name: _attaches(scene, name, token=token) for name in names))


@attack(
    767,
    "A stranger with a certificate of his own tries registrations over AMQP: known, disabled, by key, unknown, "
    "another scope.",
    dps_amqp=(_SAME, "scope.unknown"),
)
async def _registrations_by_amqp(scene: Scene) -> str:
    await scene.pinned()
    pinned, disabled, keyed, nobody = (f"{scene.name}-{kind}" for kind in ("pinned", "locked", "opened", "nobody"))
    await scene.pinned(pinned)
    await scene.enroll_pinned(disabled, certs.self_signed(disabled), provisioningStatus="disabled")
    await scene.by_key(keyed)
    own = certs.self_signed("stranger")

    async def asks(name: str, scope: str = scene.ground.scope) -> list[bytes]:
        client = await scene.open_amqp(own)
        address = f"{scope}/registrations/{name}"
        answer = await ask_registration(client, address, b"{}")
        assert answer == "401002", answer
        # Links are accepted, whoever asks, with the address that was asked for.
        return [data.replace(address.encode(), b"*") for data in await _all_of(client)]

    return await _alike(
        *(lambda name=name: asks(name) for name in (pinned, disabled, keyed, nobody)),
        lambda: asks(pinned, "0ne00000000"),
    )


@attack(
    768,
    "What a refused stranger is told over AMQP holds neither a name nor a reason.",
    hub_amqp=("nothing", "token.signature"),
)
async def _told_by_amqp(scene: Scene) -> str:
    await scene.by_key()
    said = b"".join(await _attaches(scene, scene.name, token=scene.token(key=FOREIGN)))
    leaks = [word for word in (scene.name, "signature", "token.", "identity", "key") if word.encode() in said]
    return f"told {leaks}" if leaks else "nothing"
