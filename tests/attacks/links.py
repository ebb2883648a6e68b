"""Link tricks: who is let in over AMQP as himself reaches for what is another's, by links and by what is said on them.

The identity of AMQP is one of the link, not of the connection: whatever a peer has been let in to, its next link is
judged anew. The twin of each case is the attacker on links of his own.
"""

from __future__ import annotations

import asyncio
import json
import uuid

from moorage.identities.model import ByAuthority, BySharedKey
from moorage.identities.sas import make_token
from moorage.protocols.amqp.framing import AMQP_HEADER
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import SENDER, Attach, Begin, Open, Source, Target
from moorage.protocols.amqp.sasl import EXTERNAL
from moorage.protocols.amqp.types import Int
from tests import certs
from tests.attacks.scene import API, SEND, Connected, Scene, device_address
from tests.attacks.table import ACCEPTED, Chapter
from tests.attacks.tokens import FOREIGN
from tests.servers.amqp_clients import Link
from tests.servers.world import KEY, OTHER_KEY

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Link tricks")

_MISMATCH = "identity.mismatch"
_NOT_FOUND = ("amqp:not-found", "link.unknown")
_READER = "messages/events/ConsumerGroups/$Default/Partitions/0"


async def _thief(scene: Scene) -> Connected:
    """The attacker's own connection, by his own certificate, with a link of his own; the victim is of the same CA."""
    own = f"{scene.name}-thief"
    await scene.by_authority()
    good = await scene.by_authority(own)

    async def honest() -> str:
        client = await scene.open_amqp(good)
        for rest, is_sender in (("messages/events", True), ("messages/devicebound", False), ("twin", False)):
            link = await client.attach(device_address(own, rest), is_sender=is_sender, credit=10)
            assert link.error is None, (rest, link)
        return "attached"

    scene.honest = honest
    client = await scene.open_amqp(good)
    link = await client.attach(device_address(own))
    assert link.error is None, link
    return Connected(client, link)


# --- addresses --------------------------------------------------------------------------------------------------------


def _reaches(
    number: int, text: str, address: str, told: str | tuple[str, str] = _MISMATCH, *, is_sender: bool = True
) -> None:
    """A link to `address`, in which the victim, the attacker's own name, and the victim in upper case may stand."""

    @attack(number, text, hub_amqp=told)
    async def act(scene: Scene) -> str:
        thief = await _thief(scene)
        await scene.world.create(f"{scene.name}/camera", ByAuthority())
        where = address.format(
            victim=scene.name, own=f"{scene.name}-thief", VICTIM=scene.name.upper(), rest=scene.name[1:]
        )
        answer = scene.heard_link(await thief.client.attach(where, is_sender=is_sender, credit=0 if is_sender else 10))
        assert await thief.is_alive(), "his own link has to stand"
        return answer


_reaches(660, "Telemetry as another device, over the own connection.", "/devices/{victim}/messages/events")
_reaches(661, "Another device's messages.", "/devices/{victim}/messages/devicebound", is_sender=False)
_reaches(662, "Another device's twin.", "/devices/{victim}/twin", is_sender=False)
_reaches(663, "What is asked of another device's twin.", "/devices/{victim}/twin")
_reaches(664, "The calls of another device's methods.", "/devices/{victim}/methods/deviceBound", is_sender=False)
_reaches(665, "The answers to another device's methods.", "/devices/{victim}/methods/deviceBound")
_reaches(666, "A module of another device.", "/devices/{victim}/modules/camera/messages/events")
_reaches(667, "To receive where the victim sends.", "/devices/{victim}/messages/events", is_sender=False)
_reaches(668, "To send where the victim receives.", "/devices/{victim}/messages/devicebound", _NOT_FOUND)
_reaches(669, "The collection in upper case, and the victim.", "/DEVICES/{victim}/Messages/Events")
_reaches(670, "The victim's name in upper case.", "/devices/{VICTIM}/messages/events", "identity.unknown")
_reaches(671, "A path that goes up from the own name.", "/devices/{own}/../{victim}/messages/events", _NOT_FOUND)
_reaches(
    672,
    "The same with the slashes percent-encoded.",
    "/devices/{own}%2F..%2F{victim}/messages/events",
    ("com.microsoft:argument-error", "id.device"),
)
_reaches(673, "The victim's first letter percent-encoded twice.", "/devices/%2561{rest}/twin", "identity.unknown")
_reaches(
    674,
    "The victim's name behind a host, and the own name in it.",
    "amqps://{own}@localhost/devices/{victim}/messages/events",
)
_reaches(
    675,
    "A second scheme and host behind the first.",
    "amqps://localhost/amqps://localhost/devices/{victim}/messages/events",
    _NOT_FOUND,
)
_reaches(676, "Every device, by a wildcard.", "/devices/*/messages/events", "identity.unknown")
_reaches(
    677, "Every device, by a wildcard of MQTT.", "/devices/+/messages/devicebound", "identity.unknown", is_sender=False
)
_reaches(678, "No device.", "/devices//messages/events", _NOT_FOUND)
_reaches(
    679,
    "A NUL behind the own name.",
    "/devices/{own}%00/messages/events",
    ("com.microsoft:argument-error", "id.device"),
)
_reaches(
    680,
    "An address longer than any.",
    "/devices/{victim}/" + "x" * 2048,
    ("com.microsoft:argument-error", "link.address"),
)
_reaches(
    681,
    "The own address at another host: hosts are for tokens to name.",
    "amqps://other.example/devices/{own}/twin",
    ACCEPTED,
)


@attack(682, "No address at all.", hub_amqp=_NOT_FOUND)
async def _no_address(scene: Scene) -> str:
    return scene.heard_link(await (await _thief(scene)).client.attach(None))


@attack(683, "A link of the victim's name: names are within a connection.", hub_amqp=ACCEPTED)
async def _name_of_a_link(scene: Scene) -> str:
    good = await scene.by_authority()
    thief = await scene.by_authority(f"{scene.name}-thief")
    victim = await scene.open_amqp(good)
    link = await victim.attach(device_address(scene.name), name="same")
    other = await (await scene.open_amqp(thief)).attach(device_address(f"{scene.name}-thief"), name="same")
    scene.honest = lambda: _still(Connected(victim, link))
    return scene.heard_link(other)


async def _still(session: Connected) -> str:
    return "attached" if await session.is_alive() else "ended"


@attack(684, "A transfer right behind an attach that is going to be refused.", hub_amqp=_MISMATCH)
async def _before_the_answer(scene: Scene) -> str:
    client = (await _thief(scene)).client
    early = Link(7, 0, None)
    client.say(Attach("early", early.handle, SENDER, source=Source("here"), target=Target(device_address(scene.name))))
    client.transfer(early, Message(data=b"stolen"), settled=True)
    error = await client.detached(early)
    assert [each.body for each in await scene.world.telemetry(scene.name)] == []
    return scene.heard_link(Link(7, 0, error))


# --- on a link of one's own -------------------------------------------------------------------------------------------


@attack(
    685,
    "Telemetry that names the victim wherever a message has room: `to`, user id, properties, annotations, and the "
    "properties of the link.",
    hub_amqp=("own", ""),
)
async def _names_the_victim(scene: Scene) -> str:
    client = (await _thief(scene)).client
    own, victim = f"{scene.name}-thief", scene.name
    named = {
        "iothub-connection-device-id": victim,
        "$.cdid": victim,
        "deviceId": victim,
        "com.microsoft:channel-correlation-id": f"device:{victim}",
    }
    link = await client.attach(device_address(own), properties=named)
    message = Message(
        properties=Properties(to=device_address(victim), user_id=victim.encode()),
        message_annotations=named,
        delivery_annotations=named,
        application_properties=named,
        data=b"stolen",
    )
    assert await client.send(link, message) is None
    assert b"stolen" in [each.body for each in await scene.world.telemetry(own)]
    return "another's" if await scene.world.telemetry(victim) else "own"


@attack(686, "An answer to a method that the victim was called with.", hub_amqp=("the victim's", ""))
async def _answers_for_another(scene: Scene) -> str:
    thief = (await _thief(scene)).client
    mine = await thief.attach(device_address(f"{scene.name}-thief", "methods/deviceBound"))
    good = certs.device(scene.ground.plant, scene.name)
    victim = await scene.open_amqp(good)
    calls = await victim.attach(device_address(scene.name, "methods/deviceBound"), is_sender=False, credit=10)
    answers = await victim.attach(device_address(scene.name, "methods/deviceBound"))
    body = {"methodName": "reboot", "payload": None, "responseTimeoutInSeconds": 10}
    call = asyncio.ensure_future(
        scene.ground.call("POST", f"/twins/{scene.name}/methods?{API}", body, credential=scene.ground.policy_token())
    )
    asked = await victim.received(calls)
    assert asked.properties is not None
    which = asked.properties.correlation_id
    assert isinstance(which, uuid.UUID)
    # The number of the call in every session that there may be: the thief knows it from his own calls.
    for guess in (which, uuid.UUID(int=which.int & (1 << 64) - 1)):
        assert await thief.send(mine, _answer(guess, b'"stolen"')) is None
    assert await victim.send(answers, _answer(which, b'"own"')) is None
    answer = json.loads((await call).body)
    return "the victim's" if answer == {"status": 200, "payload": "own"} else str(answer)


def _answer(call: uuid.UUID, body: bytes) -> Message:
    return Message(
        properties=Properties(correlation_id=call), application_properties={"IoThub-status": Int(200)}, data=body
    )


@attack(687, "Desired properties, which only the back end sets.", hub_amqp=("not set", ""))
async def _sets_desired(scene: Scene) -> str:
    client = (await _thief(scene)).client
    address = device_address(f"{scene.name}-thief", "twin")
    answers = await client.attach(address, is_sender=False, credit=10)
    asks = await client.attach(address)
    for resource in ("/properties/desired", f"/devices/{scene.name}/properties/reported", "/tags"):
        question = Message(
            properties=Properties(correlation_id="1"),
            message_annotations={"operation": "PATCH", "resource": resource},
            data=b'{"stolen":1}',
        )
        assert await client.send(asks, question) is None
        status = (await client.received(answers)).message_annotations["status"]
        if status != 400:
            return f"{status} for {resource}"
    return "not set"


@attack(688, "What is queued for the victim, on the own link.", hub_amqp=("silent", ""))
async def _message_of_another(scene: Scene) -> str:
    client = (await _thief(scene)).client
    await scene.world.send(scene.name, b"secret")
    link = await client.attach(
        device_address(f"{scene.name}-thief", "messages/devicebound"), is_sender=False, credit=10
    )
    assert link.error is None
    return "silent" if await client.is_silent() else "heard"


# --- what a device has at the doors of back ends, and the reverse -----------------------------------------------------

_OF_BACK_ENDS = (
    (SEND, True),
    ("/messages/serviceBound/feedback", False),
    ("/messages/serviceBound/filenotifications", False),
    ("/messages/events", False),
    (_READER, False),
    ("$management", True),
)


def _at_back_ends(number: int, text: str, reason: str, *, by_token: bool) -> None:
    @attack(number, text, service_amqp=reason)
    async def act(scene: Scene) -> str:
        await scene.by_key()
        await scene.ground.with_plant()
        await scene.world.create(f"{scene.name}-certified", ByAuthority())
        issued = None if by_token else certs.device(scene.ground.plant, f"{scene.name}-certified")
        token = make_token(f"localhost/devices/{scene.name}", KEY, scene.in_an_hour()).reveal() if by_token else None
        client = await scene.open_amqp(issued, token)
        heard = [
            scene.heard_link(await client.attach(each, is_sender=sends, credit=0)) for each, sends in _OF_BACK_ENDS
        ]
        assert len(set(heard)) == 1, heard
        return heard[0]


_at_back_ends(
    689,
    "A device's certificate for each link of a back end: to send, feedback, file notifications, telemetry, partitions.",
    "authorization.missing",
    by_token=False,
)
_at_back_ends(690, "A device's own token for each of these links.", "token.policy_missing", by_token=True)


def _by_policy(number: int, text: str, policy: str, resource: str, address: str, reason: str, *, sends: bool) -> None:
    @attack(number, text, service_amqp=reason)
    async def act(scene: Scene) -> str:
        await scene.by_key()
        client = await scene.open_amqp(token=scene.ground.policy_token("hub", policy, resource))
        return scene.heard_link(await client.attach(address, is_sender=sends))


_by_policy(
    691,
    "A policy that only reads the registry sends.",
    "registryRead",
    "localhost",
    SEND,
    "token.policy_rights",
    sends=True,
)
_by_policy(
    692, "The policy of devices reads telemetry.", "device", "localhost", _READER, "token.policy_rights", sends=False
)
_by_policy(
    693,
    "A token for telemetry, to send to devices.",
    "service",
    "localhost/messages/events",
    SEND,
    "token.audience",
    sends=True,
)
_by_policy(
    694,
    "A token to send to devices, for telemetry.",
    "service",
    "localhost/messages/devicebound",
    _READER,
    "token.audience",
    sends=False,
)


@attack(695, "The policy of back ends, as a device.", hub_amqp="token.policy_rights")
async def _service_as_device(scene: Scene) -> str:
    await scene.by_key()
    client = await scene.open_amqp(token=scene.ground.policy_token("hub", "service"))
    return scene.heard_link(await client.attach(device_address(scene.name)))


@attack(
    696,
    "A gateway's module, for a device that is none of its children.",
    hub_amqp="token.signature",
)
async def _on_behalf_of(scene: Scene) -> str:
    await scene.by_key()
    gateway = f"{scene.name}-gateway"
    await scene.by_key(gateway)
    await scene.world.create(f"{gateway}/$edgeHub", BySharedKey(FOREIGN, OTHER_KEY))
    client = await scene.open_amqp(token=scene.token(f"{gateway}/$edgeHub", key=FOREIGN))
    link = await client.attach(
        device_address(scene.name),
        properties={"com.microsoft:auth-chain": f"{scene.name};{gateway};{gateway}/$edgeHub"},
    )
    return scene.heard_link(link)


# --- SASL -------------------------------------------------------------------------------------------------------------


@attack(697, "EXTERNAL without a certificate.", hub_amqp="identity.certificate_missing")
async def _external_without(scene: Scene) -> str:
    await scene.by_authority()
    client = await scene.dial_amqp()
    assert await client.say_hello(EXTERNAL) == 0
    return scene.heard_link(await client.attach(device_address(scene.name)))


@attack(698, "No SASL at all, and no credential.", hub_amqp="identity.certificate_missing")
async def _without_sasl(scene: Scene) -> str:
    await scene.by_authority()
    client = await scene.dial_amqp()
    client.raw(AMQP_HEADER)
    client.say(Open("tests", hostname="localhost"), Begin(None, 0, 2048, 2048))
    return scene.heard_link(await client.attach(device_address(scene.name)))


@attack(699, "A mechanism that was not offered.", hub_amqp=("SASL 1", "amqp.sasl"))
async def _another_mechanism(scene: Scene) -> str:
    good = await scene.by_authority()
    client = await scene.dial_amqp(good)
    code = await client.say_hello("XOAUTH2", b"user=root")
    await client.rest()
    return f"SASL {code}"
