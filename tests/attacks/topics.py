"""Topic tricks: a device of the fleet, let in as itself, reaches for what is another's.

The twin of each is the same device on a topic of its own.
"""

from __future__ import annotations

import asyncio
import json

from moorage.protocols.mqtt.packets import Publish, SubAck, Subscribe, Subscription, Will
from moorage.protocols.mqtt.topics import TopicFilter, TopicName
from tests.attacks.scene import API, Scene
from tests.attacks.table import LET_IN, Chapter
from tests.servers.clients import Client

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter(
    "Topic tricks",
    no_amqp="AMQP has no topics: what a link is for is judged when it is attached, and the same tricks stand under "
    "Link tricks",
)

_ENDED = "closed"


async def _thief(scene: Scene, *, module: bool = False) -> Client:
    """The attacker's own session, beside a victim; or that of one of its modules."""
    own = f"{scene.name}-thief"
    await scene.by_key()
    await scene.by_key(own)
    name = f"{own}/camera" if module else own
    if module:
        await scene.by_key(name)
    prefix = "devices/" + "/modules/".join(name.split("/"))

    async def honest() -> str:
        client = await scene.connect_mqtt(name)
        await client.subscribe(f"{prefix}/messages/devicebound/#", "$iothub/twin/res/#")
        packet_id = client.publish(f"{prefix}/messages/events/", b"own")
        assert await client.acks(1) == [packet_id]
        return LET_IN[scene.door]

    scene.honest = honest
    return await scene.connect_mqtt(name)


def _publishes(number: int, text: str, topic: str, *, module: bool = False) -> None:
    @attack(number, text, hub=(_ENDED, "mqtt.topic"))
    async def act(scene: Scene) -> str:
        client = await _thief(scene, module=module)
        client.publish(topic.format(victim=scene.name, own=f"{scene.name}-thief"), b"stolen")
        ended = await scene.is_cut(client)
        telemetry = [message.body for message in await scene.world.telemetry(scene.name)]
        assert b"stolen" not in telemetry, "it counts as the victim's"
        return ended


def _subscribes(number: int, text: str, *filters: str, module: bool = False) -> None:
    @attack(number, text, hub=(_ENDED, "mqtt.filter"))
    async def act(scene: Scene) -> str:
        client = await _thief(scene, module=module)
        named = [each.format(victim=scene.name, own=f"{scene.name}-thief") for each in filters]
        client.say(Subscribe(1, tuple(Subscription(TopicFilter(each.encode()), 1) for each in named)))
        assert not [packet for packet in await client.rest() if isinstance(packet, SubAck)]
        return _ENDED


_publishes(600, "Telemetry on another device's topic.", "devices/{victim}/messages/events/")
_publishes(601, "Telemetry on a topic that begins as the own one does.", "devices/{own}/messages/eventsX")
_publishes(602, "A device, on its module's topic.", "devices/{own}/modules/camera/messages/events/")
_publishes(603, "A module, on its device's topic.", "devices/{own}/messages/events/", module=True)
_publishes(604, "A module, on another module's topic.", "devices/{own}/modules/lidar/messages/events/", module=True)
_publishes(605, "The own topic in another case.", "Devices/{own}/messages/events/")
_publishes(606, "A message to another device, as the hub sends it.", "devices/{victim}/messages/devicebound/")
_publishes(607, "Desired properties, which only the back end sets.", "$iothub/twin/PATCH/properties/desired/?$rid=1")
_publishes(608, "A method call, as the hub makes it.", "$iothub/methods/POST/reboot/?$rid=1")
_publishes(609, "A registration, on a session of the hub.", "$dps/registrations/PUT/iotdps-register/?$rid=1")
_publishes(610, "A topic of the broker's own.", "$SYS/broker/clients")
_publishes(611, "A topic with an empty level where the device is.", "devices//messages/events/")

_subscribes(620, "Another device's messages.", "devices/{victim}/messages/devicebound/#")
_subscribes(621, "Everything.", "#")
_subscribes(622, "Every device's messages, by a wildcard.", "devices/+/messages/devicebound/#")
_subscribes(623, "Every device's telemetry.", "devices/+/messages/events/#")
_subscribes(624, "All that the hub says over twins and methods.", "$iothub/#")
_subscribes(
    625, "Another device's messages, as a shared subscription.", "$share/g/devices/{victim}/messages/devicebound/#"
)
_subscribes(626, "The broker's own topics.", "$SYS/#")
_subscribes(627, "A device, its module's inputs.", "devices/{own}/modules/camera/inputs/#")
_subscribes(628, "A module, its device's messages.", "devices/{own}/messages/devicebound/#", module=True)
_subscribes(
    629,
    "The own messages and another's, in one request: nothing of it is granted.",
    "devices/{own}/messages/devicebound/#",
    "devices/{victim}/messages/devicebound/#",
)


@attack(640, "A wildcard in the topic of a message.", hub=(_ENDED, "mqtt.topic_name"))
async def _wildcard(scene: Scene) -> str:
    client = await _thief(scene)
    client.raw(_publish(b"devices/+/messages/events/"))
    return await scene.is_cut(client)


@attack(641, "A NUL in the topic of a message, behind the own one.", hub=(_ENDED, "mqtt.utf8"))
async def _nul(scene: Scene) -> str:
    client = await _thief(scene)
    client.raw(_publish(f"devices/{scene.name}-thief/messages/events/\x00".encode()))
    return await scene.is_cut(client)


def _publish(topic: bytes) -> bytes:
    return b"\x30" + bytes((len(topic) + 2,)) + len(topic).to_bytes(2, "big") + topic


@attack(642, "A Will for another device's topic.", hub="login.will")
async def _will(scene: Scene) -> str:
    await _thief(scene)
    own = f"{scene.name}-thief"
    client = await scene.dial()
    will = Will(TopicName(f"devices/{scene.name}/messages/events/".encode()), b"stolen")
    answer = await client.say_hello(own, password=scene.token(own).encode(), will=will)
    return f"CONNACK {answer.return_code:d}"  # type: ignore[union-attr]  # it is a CONNACK, or this fails


@attack(643, "A path that goes up from the own topic to another's: it is part of the own properties.", hub=("own", ""))
async def _goes_up(scene: Scene) -> str:
    client = await _thief(scene)
    own = f"{scene.name}-thief"
    packet_id = client.publish(f"devices/{own}/messages/events/../../../{scene.name}/messages/events/", b"stolen")
    assert await client.acks(1) == [packet_id]
    assert [each.body for each in await scene.world.telemetry(own)] == [b"stolen"]
    return "another's" if await scene.world.telemetry(scene.name) else "own"


@attack(644, "An answer to a method that another device was called with.", hub=("the victim's", ""))
async def _answers_for_another(scene: Scene) -> str:
    thief = await _thief(scene)
    victim = await scene.connect_mqtt()
    await victim.subscribe("$iothub/methods/POST/#", qos=0)
    body = {"methodName": "reboot", "payload": None, "responseTimeoutInSeconds": 10}
    call = asyncio.ensure_future(
        scene.ground.call("POST", f"/twins/{scene.name}/methods?{API}", body, credential=scene.ground.policy_token())
    )
    asked = await victim.expect(Publish)
    request_id = asked.topic.decode().partition("$rid=")[2]
    packet_id = thief.publish(f"$iothub/methods/res/200/?$rid={request_id}", b'"stolen"')
    assert await thief.acks(1) == [packet_id]
    victim.publish(f"$iothub/methods/res/200/?$rid={request_id}", b'"own"', qos=0)
    answer = json.loads((await call).body)
    return "the victim's" if answer == {"status": 200, "payload": "own"} else str(answer)


@attack(645, "A message that was queued for another device.", hub=("silent", ""))
async def _message_of_another(scene: Scene) -> str:
    client = await _thief(scene)
    await scene.world.send(scene.name, b"secret")
    await client.subscribe(f"devices/{scene.name}-thief/messages/devicebound/#")
    return "silent" if await client.is_silent() else "heard"


# --- on a connection that provisions --------------------------------------------------------------------------------


async def _provisioning(scene: Scene) -> Client:
    good = await scene.by_authority()
    client = await scene.dial(good)
    await client.say_hello(
        scene.name, user_name=f"{scene.ground.scope}/registrations/{scene.name}/api-version=2019-03-31"
    )
    return client


@attack(650, "A device that provisions sends telemetry.", dps_mqtt=(_ENDED, "dps.topic"))
async def _telemetry_while_provisioning(scene: Scene) -> str:
    client = await _provisioning(scene)
    client.publish(f"devices/{scene.name}/messages/events/", b"x", qos=0)
    return await scene.is_cut(client)


@attack(651, "A device that provisions subscribes to everything.", dps_mqtt=(_ENDED, "mqtt.filter"))
async def _everything_while_provisioning(scene: Scene) -> str:
    client = await _provisioning(scene)
    client.say(Subscribe(1, (Subscription(TopicFilter(b"#"), 0),)))
    return await scene.is_cut(client)


@attack(652, "A device that provisions names another registration in its topic.", dps_mqtt=(_ENDED, "dps.topic"))
async def _registers_another_by_topic(scene: Scene) -> str:
    client = await _provisioning(scene)
    client.publish("$dps/registrations/PUT/iotdps-register/other/?$id=1", b"{}", qos=0)
    return await scene.is_cut(client)
