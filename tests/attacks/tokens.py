"""SAS forging: tokens that are nearly right, for a device at the hub, a device that provisions, and the service's API.

What is right at each door is another audience and another key (`Scene.audience`, `Scene.key`); what is wrong with a
token is wrong at all of them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote, unquote

from moorage.identities.model import BySharedKey
from moorage.identities.sas import make_token
from moorage.ids import DEFAULT_HUB, Secret
from tests.attacks.scene import API, DPS_API, Scene, forged
from tests.attacks.table import ACCEPTED, Chapter, Told
from tests.servers.world import KEY, OTHER_KEY

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("SAS forging", is_about_tokens=True)

FOREIGN = Secret(base64.b64encode(b"f" * 32).decode())


class _Parts:
    """What a right token is made of, for a case to put together wrongly."""

    def __init__(self, scene: Scene) -> None:
        self.audience = scene.audience()
        self.expiry = scene.expiry()
        self.key = scene.key
        self.policy = scene.policy

    def made(
        self,
        *,
        resource: str | None = None,
        expiry: str | None = None,
        key: Secret | None = None,
        signature: str | None = None,
    ) -> str:
        """Signed over what stands in it; `resource` is not encoded yet."""
        sr = quote(self.audience if resource is None else resource, safe="")
        return forged(sr, expiry or self.expiry, key or self.key, policy=self.policy, signature=signature)

    def ends(self, later: timedelta) -> str:
        """Made for an end that is so much later than the right one."""
        return self.made(expiry=str(int(self.expiry) + int(later.total_seconds())))

    def at(self, host: str) -> str:
        """Made for another host, or another id scope."""
        return self.made(resource=f"{host}/{self.audience.partition('/')[2]}")

    @property
    def host(self) -> str:
        return self.audience.partition("/")[0]

    @property
    def signature(self) -> str:
        """Of the right token, as base64."""
        return unquote(self.made().partition("&sig=")[2].partition("&")[0])


def _at_all_doors(
    number: int,
    text: str,
    reason: str,
    make: Callable[[_Parts], str],
    *,
    service: Told | None = None,
    service_amqp: Told | None = None,
) -> None:
    async def act(scene: Scene) -> str:
        await scene.by_key()
        return await scene.show(token=make(_Parts(scene)))

    over_rest = reason if service is None else service
    over_amqp = reason if service_amqp is None else service_amqp
    attack(number, text, hub=reason, dps=reason, service=over_rest, service_amqp=over_amqp)(act)


_EXPIRED = ("401 IotHubUnauthorized", "token.expired")

_at_all_doors(400, "The right token.", ACCEPTED, lambda parts: parts.made())
_at_all_doors(401, "An empty signature.", "token.malformed", lambda parts: parts.made(signature=""))
_at_all_doors(
    402,
    "No signature.",
    "token.malformed",
    lambda parts: f"SharedAccessSignature sr={quote(parts.audience, safe='')}&se={parts.expiry}",
)
_at_all_doors(403, "Signed with another key.", "token.signature", lambda parts: parts.made(key=FOREIGN))
_at_all_doors(
    404,
    "Signed with the key's text, which nobody decoded from base64: so does Event Hubs, whose clients read telemetry.",
    "token.signature",
    lambda parts: parts.made(key=Secret(base64.b64encode(parts.key.reveal().encode()).decode())),
    service_amqp=ACCEPTED,
)
_at_all_doors(
    405,
    "Signed with an empty key.",
    "token.signature",
    lambda parts: forged(quote(parts.audience, safe=""), parts.expiry, Secret(""), policy=parts.policy),
)
_at_all_doors(
    406,
    "A good token, its end put off by a year.",
    "token.signature",
    lambda parts: parts.made(expiry=str(int(parts.expiry) + 31_536_000), signature=quote(parts.signature, safe="")),
)
_at_all_doors(
    407, "Ended an hour ago.", "token.expired", lambda parts: parts.ends(-timedelta(hours=2)), service=_EXPIRED
)
_at_all_doors(
    408,
    "Ended five minutes ago, which is allowed for clocks that differ, and a second.",
    "token.expired",
    lambda parts: parts.ends(-timedelta(hours=1, minutes=5, seconds=1)),
    service=_EXPIRED,
)
_at_all_doors(409, "An end of more digits than any time.", "token.malformed", lambda parts: parts.made(expiry="9" * 16))
_at_all_doors(410, "An end before 1970.", "token.malformed", lambda parts: parts.made(expiry="-1"))
_at_all_doors(
    411, "An end in digits that are not ASCII.", "token.malformed", lambda parts: parts.made(expiry="%D9%A1%D9%A2")
)
_at_all_doors(412, "An end with an exponent.", "token.malformed", lambda parts: parts.made(expiry="9e12"))
_at_all_doors(
    413, "A second end behind the signed one.", "token.malformed", lambda parts: f"{parts.made()}&se=99999999999"
)
_at_all_doors(
    414,
    "A second resource before the signed one.",
    "token.malformed",
    lambda parts: parts.made().replace(" sr=", " sr=localhost&sr="),
)
_at_all_doors(
    415,
    "The signature without its last four characters.",
    "token.signature",
    lambda parts: parts.made(signature=quote(parts.signature[:-4], safe="")),
)
_at_all_doors(
    416,
    "More padding behind the signature.",
    "token.signature",
    lambda parts: parts.made(signature=quote(parts.signature + "==", safe="")),
)
_at_all_doors(
    417,
    "The signature in hexadecimal.",
    "token.signature",
    lambda parts: parts.made(signature=base64.b64decode(parts.signature).hex()),
)
_at_all_doors(
    418,
    "The signature percent-encoded twice.",
    "token.signature",
    lambda parts: parts.made(signature=quote(quote(parts.signature, safe=""), safe="")),
)
_at_all_doors(
    419,
    "Another scheme in front of a good token.",
    "token.malformed",
    lambda parts: parts.made().replace("SharedAccessSignature", "Basic"),
    service="authorization.scheme",
)
_at_all_doors(
    420,
    "For a name that the right one begins with: a prefix is no permission.",
    "token.audience",
    lambda parts: parts.made(resource=parts.audience[:-1]),
)
_at_all_doors(
    421,
    "For a name that begins with the right one.",
    "token.audience",
    lambda parts: parts.made(resource=parts.audience + "2"),
)
_at_all_doors(
    422,
    "For a host whose name begins with the right one.",
    "token.audience",
    lambda parts: parts.at(f"{parts.host}.evil.example"),
)
_at_all_doors(
    423,
    "For the right host before an at sign, where a URL has the user.",
    "token.audience",
    lambda parts: parts.at(f"{parts.host}@evil.example"),
)
_at_all_doors(
    424,
    "For a path that goes up from another name to the right one.",
    "token.audience",
    lambda parts: parts.made(resource="/thief/../".join(parts.audience.rsplit("/", 1))),
)
_at_all_doors(
    425,
    "For the right resource, percent-encoded twice.",
    "token.audience",
    lambda parts: parts.made(resource=quote(parts.audience, safe="")),
)
_at_all_doors(
    426,
    "Longer than any token is.",
    "token.malformed",
    lambda parts: f"{parts.made()}&x={'y' * 4096}",
)
_at_all_doors(
    427,
    "For nothing: an empty path at an empty host.",
    "token.audience",
    lambda parts: parts.made(resource="/"),
)


# --- with the audience's case, host and port -------------------------------------------------------------------------


@attack(430, "With a device's key, for its resource in lower case, as IoT Edge makes it.", hub=ACCEPTED)
async def _lower_case(scene: Scene) -> str:
    name = f"{scene.name}-Upper"
    await scene.by_key(name)
    scene.honest = lambda: scene.show(name, token=scene.token(name))
    return await scene.show(name, token=scene.token(audience=f"localhost/devices/{name.lower()}"))


@attack(431, "With a policy's key, for a device in another case: only hosts have none.", hub="token.audience")
async def _policy_in_other_case(scene: Scene) -> str:
    await scene.by_key()
    audience = f"localhost/devices/{scene.name.upper()}"
    return await scene.show(token=scene.ground.policy_token("hub", "device", audience))


@attack(432, "With a policy's key, for `DEVICES`.", service="token.audience")
async def _upper_case_collection(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(audience=f"localhost/DEVICES/{scene.name}"))


@attack(
    433, "For the right host with a port, and in upper case.", hub=ACCEPTED, service=ACCEPTED, service_amqp=ACCEPTED
)
async def _host_with_port(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(audience=f"LOCALHOST:8883/{scene.audience().partition('/')[2]}"))


@attack(434, "The device's key, for the host alone: a device's key opens the device.", hub="token.audience")
async def _host_alone(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(audience="localhost"))


@attack(
    435,
    "The end in a second line of the resource, and another in its own field.",
    hub="token.signature",
    dps_mqtt="token.audience",
    dps_amqp="token.audience",
    no_https=True,
)
async def _second_line(scene: Scene) -> str:
    await scene.by_key()
    parts = _Parts(scene)
    resource = f"{quote(parts.audience, safe='')}\n{parts.expiry}"
    later = str(int(parts.expiry) + 1)
    return await scene.show(token=forged(resource, later, parts.key, signature=quote(parts.signature, safe="")))


# --- whose key, and which policy -------------------------------------------------------------------------------------


@attack(
    440,
    "The device's own key, and a policy named beside it.",
    hub="token.signature",
    hub_amqp=("CBS 401", "token.signature"),
    hub_plain=("SASL 1", "token.signature"),
    dps="token.policy",
    service="token.signature",
    service_amqp="token.signature",
)
async def _policy_beside(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(key=KEY, policy="iothubowner"))


@attack(
    441,
    "A policy that there is not.",
    hub="token.policy_unknown",
    hub_amqp=("CBS 401", "token.policy_unknown"),
    hub_plain=("SASL 1", "token.policy_unknown"),
    service="token.policy_unknown",
    service_amqp=("CBS 401", "token.policy_unknown"),
)
async def _no_such_policy(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(policy="root"))


@attack(442, "The key of a policy without DeviceConnect, for a device.", hub="token.policy_rights")
async def _no_device_connect(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.ground.policy_token("hub", "registryRead"))


@attack(443, "The key of the policy `device`, for another device.", hub="token.audience")
async def _policy_for_another(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.ground.policy_token("hub", "device", f"localhost/devices/{scene.name}-thief"))


@attack(444, "The key of the policy `device`, for the whole hub: it is what that policy is for.", hub=ACCEPTED)
async def _policy_device(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.ground.policy_token("hub", "device"))


@attack(
    445,
    "A policy of the provisioning service, at the hub.",
    hub="token.policy_unknown",
    service="token.policy_unknown",
    service_amqp=("amqp:unauthorized-access", "token.policy_unknown"),
)
async def _policy_of_dps(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.ground.policy_token("dps", "provisioningserviceowner"))


@attack(446, "A policy of the hub, at the provisioning service's API.", service=("401 401002", "token.policy_unknown"))
async def _policy_of_the_hub(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request("GET", f"/enrollments/{scene.name}?{DPS_API}", credential=scene.ground.policy_token())


@attack(
    447,
    "A weak policy's token, with a strong policy's name in it.",
    service="token.signature",
    service_amqp="token.signature",
)
async def _stronger_name(scene: Scene) -> str:
    await scene.by_key()
    weak = scene.ground.policy_token("hub", "device")
    return await scene.show(token=weak.replace("skn=device", "skn=iothubowner"))


@attack(
    448,
    "The policy's name twice, a strong one behind a weak one.",
    service="token.malformed",
    service_amqp="token.malformed",
)
async def _name_twice(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.ground.policy_token("hub", "device") + "&skn=iothubowner")


@attack(
    449,
    "The policy's name in another case.",
    service="token.policy_unknown",
    service_amqp=("CBS 401", "token.policy_unknown"),
)
async def _name_in_other_case(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(policy="IotHubOwner"))


@attack(
    450,
    "A device's own token, at the service's API.",
    service="token.policy_missing",
    service_amqp="token.policy_missing",
)
async def _device_at_the_service(scene: Scene) -> str:
    await scene.by_key()
    expires = scene.world.clock.now() + timedelta(hours=1)
    return await scene.show(token=make_token(scene.audience(), KEY, expires).reveal())


async def _module(scene: Scene) -> str:
    """A module of the case's device, with a key of its own."""
    await scene.by_key()
    module = f"{scene.name}/camera"
    await scene.world.create(module, BySharedKey(FOREIGN, FOREIGN))
    return module


@attack(451, "A module's key, for its device.", hub="token.signature")
async def _module_for_device(scene: Scene) -> str:
    await _module(scene)
    return await scene.show(token=scene.token(key=FOREIGN))


@attack(452, "A token for a module, signed with the device's key, for the device.", hub="token.audience")
async def _audience_of_a_module(scene: Scene) -> str:
    return await scene.show(token=scene.token(await _module(scene)))


@attack(453, "The device's key, for one of its modules.", hub="token.signature")
async def _device_for_module(scene: Scene) -> str:
    module = await _module(scene)
    return await scene.show(module, token=scene.token(module))


@attack(454, "Another device's token, which has the same key: somebody copied it.", hub="token.audience")
async def _copied_key(scene: Scene) -> str:
    await scene.by_key()
    await scene.by_key(f"{scene.name}-thief")
    return await scene.show(token=scene.token(f"{scene.name}-thief"))


@attack(455, "A token that is signed with the key that was there before.", hub="token.signature")
async def _rolled(scene: Scene) -> str:
    await scene.by_key()
    await scene.world.update(scene.name, authentication=BySharedKey(FOREIGN, FOREIGN))
    await scene.world.update(scene.name, authentication=BySharedKey(OTHER_KEY, FOREIGN))
    scene.honest = lambda: scene.show(token=scene.token(key=OTHER_KEY))
    return await scene.show(token=scene.token())


# --- switched off ----------------------------------------------------------------------------------------------------


@attack(
    460,
    "A device's good token, where devices' tokens are switched off.",
    hub="sas.disabled_for_devices",
    own_hub={},
)
async def _devices_off(scene: Scene) -> str:
    return await _with_switch(scene, "disable_device_sas")


@attack(
    461,
    "A policy's good token for a device, where policies' tokens are switched off.",
    hub="sas.disabled_for_policies",
    own_hub={},
)
async def _policies_off(scene: Scene) -> str:
    token = scene.ground.policy_token("hub", "device")
    return await _with_switch(scene, "disable_local_auth", token)


@attack(
    462,
    "A policy's good token at the service's API, where policies' tokens are switched off.",
    service="sas.disabled_for_policies",
    service_amqp="sas.disabled_for_policies",
    own_hub={},
)
async def _service_off(scene: Scene) -> str:
    return await _with_switch(scene, "disable_local_auth")


@attack(
    463,
    "A policy's good token for a device, where devices' tokens are switched off.",
    hub="sas.disabled_for_devices",
    own_hub={},
)
async def _devices_off_for_policies(scene: Scene) -> str:
    return await _with_switch(scene, "disable_device_sas", scene.ground.policy_token("hub", "device"))


@attack(
    464,
    "A device's good token for provisioning, where devices' tokens are switched off.",
    dps="sas.disabled_for_devices",
    own_hub={},
)
async def _devices_off_at_dps(scene: Scene) -> str:
    return await _with_switch(scene, "disable_device_sas")


@attack(
    465,
    "A module's good token, where modules' tokens are switched off.",
    hub="sas.disabled_for_modules",
    own_hub={},
)
async def _modules_off(scene: Scene) -> str:
    await scene.by_key()
    module = f"{scene.name}/camera"
    await scene.world.create(module, BySharedKey(FOREIGN, FOREIGN))
    await scene.world.policies.set_switches(DEFAULT_HUB, {"disable_module_sas": True})
    return await scene.show(module, token=scene.token(module, key=FOREIGN))


async def _with_switch(scene: Scene, switch: str, token: str | None = None) -> str:
    """Ask while it is on; the twin asks once it is off again."""
    await scene.by_key()
    await scene.world.policies.set_switches(DEFAULT_HUB, {switch: True})
    answer = await scene.show(token=token or scene.token())

    async def honest() -> str:
        await scene.world.policies.set_switches(DEFAULT_HUB, {switch: False})
        return await scene.show(token=token or scene.token())

    scene.honest = honest
    return answer


# --- rights ----------------------------------------------------------------------------------------------------------


@attack(470, "A policy that may read the registry writes it.", service="token.policy_rights")
async def _reader_writes(scene: Scene) -> str:
    await scene.by_key()
    token = scene.ground.policy_token("hub", "registryRead")
    return await scene.request("DELETE", f"/devices/{scene.name}?{API}", None, "If-Match: *", credential=token)


@attack(471, "The policy of devices reads the registry.", service="token.policy_rights")
async def _devices_read(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.ground.policy_token("hub", "device"))


@attack(472, "A policy that may write the registry calls a method on a device.", service="token.policy_rights")
async def _registrar_calls(scene: Scene) -> str:
    await scene.by_key()
    token = scene.ground.policy_token("hub", "registryReadWrite")
    return await scene.request("POST", f"/twins/{scene.name}/methods?{API}", {"methodName": "reboot"}, credential=token)


@attack(473, "A token for one device, for another.", service="token.audience")
async def _another_device(scene: Scene) -> str:
    await scene.by_key()
    return await scene.show(token=scene.token(f"{scene.name}-thief"))


@attack(474, "A token for one device, for the list of all.", service="token.audience")
async def _all_devices(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request("GET", f"/devices?{API}", credential=scene.token())


@attack(475, "A token for one device, for a query over all.", service="token.audience")
async def _query(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request(
        "POST", f"/devices/query?{API}", {"query": "SELECT * FROM devices"}, credential=scene.token()
    )


@attack(476, "A token for `devices`, for twins.", service="token.audience")
async def _another_collection(scene: Scene) -> str:
    await scene.by_key()
    return await scene.request(
        "GET", f"/twins/{scene.name}?{API}", credential=scene.token(audience="localhost/devices")
    )
