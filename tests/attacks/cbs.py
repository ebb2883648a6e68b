"""Token tricks over AMQP: what is put on a connection, by CBS or by SASL PLAIN, and what it opens there.

A connection holds many tokens. Each link is judged by the one that names its own path most nearly, so a token that is
good opens what it names and nothing beside it, however it was put.
"""

from __future__ import annotations

from datetime import timedelta

from moorage.identities.model import BySharedKey
from moorage.protocols.amqp.message import Message
from moorage.protocols.amqp.sasl import ANONYMOUS, PLAIN
from moorage.servers.amqp.credentials import MAX_TOKENS
from tests import certs
from tests.attacks.scene import SEND, Connected, Scene, device_address
from tests.attacks.table import ACCEPTED, Chapter
from tests.attacks.tokens import FOREIGN
from tests.servers.amqp_clients import CBS_TOKEN, AMQPClient, plain_response
from tests.servers.world import KEY, OTHER_KEY

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Token tricks over AMQP")

_CUT = "amqp:unauthorized-access"


async def _opened(scene: Scene) -> AMQPClient:
    """The attacker's connection, on which nothing was shown."""
    return await scene.open_amqp()


async def _asks(scene: Scene, client: AMQPClient, name: str | None = None) -> str:
    return scene.heard_link(await client.attach(device_address(name or scene.name)))


async def _thief(scene: Scene) -> str:
    """The name of another device of the fleet, beside the victim."""
    await scene.by_key()
    own = f"{scene.name}-thief"
    await scene.world.create(own, BySharedKey(FOREIGN, OTHER_KEY))
    return own


# --- whose token it is ------------------------------------------------------------------------------------------------


@attack(1000, "The own token, put under the victim's name.", hub_amqp="token.signature")
async def _under_another_name(scene: Scene) -> str:
    own = await _thief(scene)
    client = await _opened(scene)
    assert await client.put_token(scene.token(own, key=FOREIGN), name=f"localhost/devices/{scene.name}") == 200
    return await _asks(scene, client)


@attack(1001, "The own token put, the own link attached, and then the victim's.", hub_amqp="token.signature")
async def _own_then_another(scene: Scene) -> str:
    own = await _thief(scene)
    client = await scene.open_amqp(token=scene.token(own, key=FOREIGN))
    assert await _asks(scene, client, own) == "attached"
    return await _asks(scene, client)


@attack(1002, "A token for the victim, signed with the own key, beside the own token.", hub_amqp="token.signature")
async def _forged_beside(scene: Scene) -> str:
    own = await _thief(scene)
    client = await scene.open_amqp(token=scene.token(own, key=FOREIGN))
    assert await client.put_token(scene.token(key=FOREIGN)) == 200
    assert await _asks(scene, client, own) == "attached"
    return await _asks(scene, client)


@attack(1003, "The victim's key, for this device at another hub.", hub_amqp="token.audience")
async def _another_hub(scene: Scene) -> str:
    await scene.by_key()
    return await _asks(scene, await scene.open_amqp(token=scene.token(audience=f"other.example/devices/{scene.name}")))


@attack(1004, "A device's token for one of its modules, which has a key of its own.", hub_amqp="token.signature")
async def _device_for_module(scene: Scene) -> str:
    await scene.by_key()
    await scene.world.create(f"{scene.name}/camera", BySharedKey(FOREIGN, FOREIGN))
    return await _asks(scene, await scene.open_amqp(token=scene.token()), f"{scene.name}/camera")


@attack(1005, "A module's token for its device.", hub_amqp="token.signature")
async def _module_for_device(scene: Scene) -> str:
    await scene.by_key()
    module = f"{scene.name}/camera"
    await scene.world.create(module, BySharedKey(FOREIGN, FOREIGN))
    client = await scene.open_amqp(token=scene.token(module, key=FOREIGN))
    assert await _asks(scene, client, module) == "attached"
    return await _asks(scene, client)


@attack(
    1006,
    "The token of a device whose name is the victim's in upper case, with both on the connection.",
    hub_amqp="token.signature",
)
async def _other_case(scene: Scene) -> str:
    await scene.by_key()
    own = scene.name.upper()
    await scene.world.create(own, BySharedKey(FOREIGN, OTHER_KEY))
    client = await scene.open_amqp(token=scene.token(own, key=FOREIGN))
    assert await _asks(scene, client, own) == "attached"
    return await _asks(scene, client)


@attack(1007, "A token whose resource has the path percent-encoded twice.", hub_amqp="token.audience")
async def _encoded_twice(scene: Scene) -> str:
    await scene.by_key()
    return await _asks(scene, await scene.open_amqp(token=scene.token(audience=f"localhost/devices%2F{scene.name}")))


@attack(1008, "A token for a name that goes on below the own one to the victim's.", hub_amqp="token.signature")
async def _goes_up(scene: Scene) -> str:
    own = await _thief(scene)
    audience = f"localhost/devices/{own}/../{scene.name}"
    return await _asks(scene, await scene.open_amqp(token=scene.token(key=FOREIGN, audience=audience)))


@attack(1009, "A good token for provisioning, at the hub.", hub_amqp="token.audience")
async def _of_provisioning(scene: Scene) -> str:
    await scene.by_key()
    audience = f"{scene.ground.scope}/registrations/{scene.name}"
    return await _asks(scene, await scene.open_amqp(token=scene.token(audience=audience)))


@attack(1010, "The own certificate, and the victim's name in a token of the own key.", hub_amqp="token.signature")
async def _certificate_beside(scene: Scene) -> str:
    await scene.by_key()
    await scene.ground.with_plant()
    client = await scene.open_amqp(certs.device(scene.ground.plant, scene.name), scene.token(key=FOREIGN))
    return await _asks(scene, client)


@attack(1011, "A good token, put on another connection.", hub_amqp="token.missing")
async def _another_connection(scene: Scene) -> str:
    await scene.by_key()
    await scene.open_amqp(token=scene.token())
    return await _asks(scene, await _opened(scene))


@attack(1012, "A good token, put in another session of the connection: it is the connection's.", hub_amqp=ACCEPTED)
async def _another_session(scene: Scene) -> str:
    await scene.by_key()
    client = await scene.open_amqp(token=scene.token())
    await client.begin(1)
    return scene.heard_link(await client.attach(device_address(scene.name), channel=1))


# --- by PLAIN ---------------------------------------------------------------------------------------------------------


async def _plain(scene: Scene, user: str, token: str, name: str | None = None) -> str:
    client = await scene.dial_amqp()
    code = await client.say_hello(PLAIN, plain_response(user, token))
    return f"SASL {code}" if code else await _asks(scene, client, name)


@attack(1020, "The victim's name as the user, and the own token.", hub_plain="token.signature")
async def _user_of_another(scene: Scene) -> str:
    own = await _thief(scene)
    return await _plain(scene, f"{scene.name}@sas.localhost", scene.token(own, key=FOREIGN))


@attack(
    1021,
    "The victim's name as the user, and the own token, for oneself: only the token is looked at.",
    hub_plain=ACCEPTED,
)
async def _user_of_another_for_oneself(scene: Scene) -> str:
    own = await _thief(scene)
    return await _plain(scene, f"{scene.name}@sas.localhost", scene.token(own, key=FOREIGN), own)


@attack(1022, "A device's key as it is, in the place of the token.", hub_plain="token.malformed")
async def _key(scene: Scene) -> str:
    await scene.by_key()
    return await _plain(scene, f"{scene.name}@sas.localhost", KEY.reveal())


@attack(1023, "A policy's key as it is, as iothubowner.", hub_plain="token.malformed")
async def _policy_key(scene: Scene) -> str:
    await scene.by_key()
    key = scene.ground.policy_key("hub", "iothubowner").reveal()
    return await _plain(scene, "iothubowner@sas.root.localhost", key)


@attack(1024, "A response of PLAIN without its parts.", hub_plain=("SASL 1", "amqp.sasl"))
async def _no_parts(scene: Scene) -> str:
    await scene.by_key()
    client = await scene.dial_amqp()
    return f"SASL {await client.say_hello(PLAIN, scene.token().encode())}"


@attack(1025, "A token that is refused by PLAIN, and another try in the same connection.", hub_plain="token.malformed")
async def _again(scene: Scene) -> str:
    await scene.by_key()
    client = await scene.dial_amqp()
    code = await client.say_hello(PLAIN, plain_response("", "no token"))
    try:
        assert not await client.say_hello(ANONYMOUS)
    except (EOFError, ConnectionError):
        return f"SASL {code}"
    return await _asks(scene, client)


# --- later ------------------------------------------------------------------------------------------------------------


async def _connected(scene: Scene, lives: timedelta) -> Connected:
    await scene.by_key()
    token = scene.token(expires=scene.world.clock.now() + lives)
    client = await scene.open_amqp(token=token)
    link = await client.attach(device_address(scene.name))
    assert link.error is None
    return Connected(client, link)


@attack(1030, "A token that ends while its link is attached.", hub_amqp=(_CUT, "credential.expired"), own_hub={})
async def _ends(scene: Scene) -> str:
    session = await _connected(scene, timedelta(seconds=100))
    scene.world.turn(99)
    assert await session.is_alive()
    scene.world.turn(2)
    return await session.is_cut()


@attack(
    1031,
    "The same, refreshed by a forged token that ends later.",
    hub_amqp=(_CUT, "credential.expired"),
    own_hub={},
)
async def _refreshed_by_forged(scene: Scene) -> str:
    session = await _connected(scene, timedelta(seconds=100))
    assert await session.client.put_token(scene.token(key=FOREIGN)) == 401
    assert "token" not in session.client.told, session.client.told
    assert await session.is_alive()
    scene.forget()
    scene.world.turn(101)
    return await session.is_cut()


@attack(
    1032,
    "The same, refreshed by another device's good token.",
    hub_amqp=(_CUT, "credential.expired"),
    own_hub={},
)
async def _refreshed_by_another(scene: Scene) -> str:
    session = await _connected(scene, timedelta(seconds=100))
    other = f"{scene.name}-other"
    await scene.by_key(other)
    assert await session.client.put_token(scene.token(other)) == 200
    scene.world.turn(101)
    return await session.is_cut()


@attack(
    1033,
    "A good token refreshed by one that ends sooner: what counts is the last.",
    hub_amqp=(_CUT, "credential.expired"),
    own_hub={},
)
async def _refreshed_by_shorter(scene: Scene) -> str:
    session = await _connected(scene, timedelta(seconds=190))
    assert await session.client.put_token(scene.token(expires=scene.world.clock.now() + timedelta(seconds=100))) == 200
    scene.world.turn(101)
    return await session.is_cut()


@attack(1034, "A token refreshed by a good one: its link stands.", hub_amqp=ACCEPTED, own_hub={})
async def _refreshed(scene: Scene) -> str:
    session = await _connected(scene, timedelta(seconds=100))
    assert await session.client.put_token(scene.token()) == 200
    scene.world.turn(101)
    return "attached" if await session.is_alive() else "ended"


@attack(
    1035, "A back end's token that ends while its link is attached.", service_amqp=(_CUT, "token.expired"), own_hub={}
)
async def _service_ends(scene: Scene) -> str:
    await scene.by_key()
    client = await scene.open_amqp(token=scene.token(expires=scene.world.clock.now() + timedelta(seconds=100)))
    link = await client.attach(SEND)
    assert link.error is None
    scene.world.turn(101)
    return await Connected(client, link).is_cut()


# --- requests that are none -------------------------------------------------------------------------------------------


def _malformed(
    number: int, text: str, *, token: object = "good", kind: str = CBS_TOKEN, operation: str = "put-token"
) -> None:
    @attack(number, text, hub_amqp=("CBS 400", "cbs.request"))
    async def act(scene: Scene) -> str:
        await scene.by_key()
        client = await _opened(scene)
        put = scene.token() if token == "good" else token
        status = await client.put_token(put, kind=kind, operation=operation)
        count = scene.mark()
        assert await _asks(scene, client) == _CUT, "it was kept"
        scene.forget(count)
        return f"CBS {status}"


_malformed(1040, "A good token that calls itself a JWT.", kind="jwt")
_malformed(1041, "A good token of no type.", kind="")
_malformed(1042, "A good token whose type is in another case.", kind="ServiceBus.Windows.Net:SasToken")
_malformed(1043, "A good token that is to be deleted.", operation="delete-token")
_malformed(1044, "A token in bytes.", token=b"SharedAccessSignature sr=x")
_malformed(1045, "No token.", token=None)
_malformed(1046, "A token in a map.", token={"token": "SharedAccessSignature sr=x"})


@attack(1047, "A token of 17,000 characters.", hub_amqp=("amqp:link:message-size-exceeded", ""))
async def _huge(scene: Scene) -> str:
    await scene.by_key()
    client = await _opened(scene)
    link = await client.attach("$cbs")
    client.transfer(link, Message(application_properties={"operation": "put-token"}, value="x" * 17_000))
    error = await client.detached(link)
    assert error is not None and await _asks(scene, client) == _CUT
    scene.forget()
    return error.condition


@attack(
    1048, "One token more than a connection holds; those that are there stay.", hub_amqp=("CBS 401", "token.too_many")
)
async def _too_many(scene: Scene) -> str:
    session = await _connected(scene, timedelta(hours=1))
    for number in range(1, MAX_TOKENS):
        assert await session.client.put_token(scene.token(audience=f"localhost/devices/{number}")) == 200
    status = await session.client.put_token(scene.token(audience="localhost/devices/one-more"))
    assert await session.is_alive()
    return f"CBS {status}"


@attack(1049, "Tokens that are refused, without end.", hub_amqp=(_CUT, "token.malformed"))
async def _without_end(scene: Scene) -> str:
    await scene.by_key()
    client = await _opened(scene)
    try:
        for _ in range(200):
            assert await client.put_token("no token") == 400
    except EOFError:
        # Of so many only the first are kept.
        scene.forget(1)
        return "closed" if client.closed_with is None else client.closed_with.condition
    return "goes on"
