"""Replay and take-over: what was said once, said again; and who else speaks while the device is connected."""

from __future__ import annotations

from datetime import timedelta

from moorage.identities.model import BySharedKey
from moorage.ids import Secret
from moorage.protocols.mqtt.packets import Connect
from tests import certs
from tests.attacks.scene import Scene, device_address
from tests.attacks.table import ACCEPTED, LET_IN, Chapter
from tests.attacks.tokens import FOREIGN

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Replay and take-over")


async def _while_connected(scene: Scene, issued: certs.Issued | None = None) -> None:
    """The victim is connected, and has to be still when the attacker is done."""
    client = await scene.connect(issued=issued)

    async def honest() -> str:
        return LET_IN[scene.door] if await scene.is_alive(client) else "taken over"

    scene.honest = honest


@attack(
    500,
    "A wrong certificate for a device that is connected: the session there is not touched.",
    hub="identity.thumbprint",
    hub_amqp="identity.thumbprint",
)
async def _wrong_certificate(scene: Scene) -> str:
    await _while_connected(scene, await scene.pinned())
    return await scene.show(issued=certs.self_signed(scene.name, label="fake"))


@attack(501, "A forged token for a device that is connected.", hub="token.signature", hub_amqp="token.signature")
async def _forged(scene: Scene) -> str:
    await scene.by_key()
    await _while_connected(scene)
    return await scene.show(token=scene.token(key=FOREIGN))


@attack(502, "A device of the fleet takes another's client id, which is how MQTT takes over.", hub="login.client_id")
async def _client_id(scene: Scene) -> str:
    await scene.by_key()
    await _while_connected(scene)
    own = f"{scene.name}-thief"
    await scene.by_key(own)
    user_name = f"localhost/{own}/?api-version=2021-04-12"
    return await scene.show(token=scene.token(own), user_name=user_name)


@attack(503, "A module connects: it does not take over from its device.", hub=ACCEPTED, hub_amqp=ACCEPTED)
async def _module(scene: Scene) -> str:
    await scene.by_key()
    await _while_connected(scene)
    await scene.world.create(f"{scene.name}/camera", BySharedKey(FOREIGN, FOREIGN))
    return await scene.show(f"{scene.name}/camera", token=scene.token(f"{scene.name}/camera", key=FOREIGN))


@attack(
    504,
    "A second CONNECT, for another device, on a connection that was let in.",
    hub=("closed", "mqtt.connect_twice"),
    no_amqp="many devices may share a connection, each with a credential of its own: Link tricks",
)
async def _second_connect(scene: Scene) -> str:
    await scene.by_key()
    await _while_connected(scene)
    own = f"{scene.name}-thief"
    await scene.by_key(own)
    client = await scene.connect_mqtt(own)
    client.say(Connect(scene.name, True, 60, f"localhost/{scene.name}/?api-version=2021-04-12", b""))
    return await scene.is_cut(client)


@attack(
    505,
    "The bytes of a good device's CONNECT, sent again without its certificate.",
    hub="identity.certificate_missing",
    hub_amqp="identity.certificate_missing",
)
async def _replayed_connect(scene: Scene) -> str:
    await _while_connected(scene, await scene.pinned())
    return await scene.show()


@attack(506, "A token that was overheard, after its end.", hub="token.expired", hub_amqp="token.expired", own_hub={})
async def _overheard(scene: Scene) -> str:
    await scene.by_key()
    token = scene.token()
    scene.world.clock.advance(timedelta(hours=1, minutes=5, seconds=1).total_seconds())
    return await scene.show(token=token)


@attack(
    507,
    "A good token, shown by somebody else before its end: whoever bears it is the device. Only X.509 prevents this.",
    hub=("CONNACK 0", "session.taken_over"),
    hub_amqp=("attached", "session.taken_over"),
    no_twin="the attacker is let in, and the device is cut: this is what a token is",
)
async def _bearer(scene: Scene) -> str:
    await scene.by_key()
    scene.honest = None
    victim = await scene.connect()
    answer = await scene.show(token=scene.token())
    assert await scene.is_cut(victim) == ("amqp:link:stolen" if scene.is_amqp else "closed")
    return answer


@attack(
    510,
    "A forged token over AMQP, and a wrong certificate, for a device that is connected over MQTT.",
    hub_amqp="token.signature",
)
async def _over_another_transport(scene: Scene) -> str:
    await scene.by_key()
    victim = await scene.connect_mqtt()

    async def honest() -> str:
        return "attached" if await scene.is_alive(victim) else "taken over"

    scene.honest = honest
    await scene.ground.with_plant()
    assert await scene.show(issued=certs.device(scene.ground.plant, scene.name)) != "attached"
    return await scene.show(token=scene.token(key=FOREIGN))


@attack(
    511,
    "A good device attaches over AMQP while it is connected over MQTT: it takes over from itself.",
    hub_amqp=("attached", "session.taken_over"),
    no_twin="the device is cut, and the device is let in",
)
async def _takes_over(scene: Scene) -> str:
    good = await scene.by_authority()
    scene.honest = None
    victim = await scene.connect_mqtt(issued=good)
    answer = await scene.show(issued=good)
    assert await scene.is_cut(victim) == "closed"
    return answer


@attack(
    508,
    "A device made anew under a deleted one's name listens for what was queued for that.",
    hub=("silent", ""),
    hub_amqp=("silent", ""),
)
async def _inherits(scene: Scene) -> str:
    await scene.by_key()
    await scene.world.send(scene.name, b"secret")
    await scene.world.delete(scene.name)
    await scene.by_key()
    if scene.is_amqp:
        opened = await scene.open_amqp(token=scene.token())
        link = await opened.attach(device_address(scene.name, "messages/devicebound"), is_sender=False, credit=10)
        assert link.error is None
        return "silent" if await opened.is_silent() else "heard"
    client = await scene.connect_mqtt()
    await client.subscribe(f"devices/{scene.name}/messages/devicebound/#")
    return "silent" if await client.is_silent() else "heard"


@attack(
    509,
    "The token of a deleted device, for the one that was made anew under its name.",
    hub="token.signature",
    hub_amqp="token.signature",
)
async def _token_of_the_former(scene: Scene) -> str:
    await scene.by_key()
    token = scene.token()
    await scene.world.delete(scene.name)
    key = Secret(FOREIGN.reveal())
    await scene.world.create(scene.name, BySharedKey(key, key))
    scene.honest = lambda: scene.show(token=scene.token(key=key))
    return await scene.show(token=token)
