"""Secrets that were made for this test alone, used rightly and wrongly: nothing that the hub writes holds one of them.

What is searched: standard output and error of the hub, its log and audit lines among them; every file of its data
folder but the four that are there to hold secrets; the attempts, as `moorage explain` shows them; the bodies and
headers of errors; and what the commands print that were given a password.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from moorage.identities.owner import OwnerKey
from moorage.identities.sas import make_token
from moorage.ids import Secret
from moorage.protocols.amqp.sasl import PLAIN
from tests.hubs import Hub, running_hub
from tests.servers.amqp_clients import CBS_TOKEN, AMQPClient, plain_response
from tests.servers.clients import Client, tls_context

# What is there to hold secrets, under mode 0600: what clients need, and the keys that the rest is encrypted with.
KEEPERS = {"hub.json", "owner.key", "secrets.key"}
API, DPS_API = "api-version=2021-04-12", "api-version=2021-10-01"


def key(name: str) -> str:
    """A shared access key that is found again."""
    return base64.b64encode(f"canary-{name}".ljust(33, "~").encode()).decode()


class Aviary:
    """Every canary that was let out, and all that was heard of the hub."""

    def __init__(self) -> None:
        self.canaries: dict[str, str] = {}
        self.heard: dict[str, bytes] = {}

    def key(self, name: str) -> str:
        return self.let_out(name, key(name))

    def let_out(self, name: str, secret: str) -> str:
        self.canaries[name] = secret
        return secret

    def token(self, name: str, resource: str, secret: str, policy: str | None = None) -> str:
        """A token; its signature is a canary."""
        token = make_token(resource, Secret(secret), datetime.now(UTC) + timedelta(hours=1), policy).reveal()
        self.let_out(name, token.partition("&sig=")[2].partition("&")[0])
        return token

    def sightings(self) -> Iterator[str]:
        for name, secret in self.canaries.items():
            forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
            for where, text in self.heard.items():
                if any(form.encode() in text for form in forms):
                    yield f"{name} in {where}"


class Caller:
    """Sends, and hears what comes of errors: what a good request is answered with may hold what was asked for."""

    def __init__(self, hub: Hub, aviary: Aviary) -> None:
        self._aviary = aviary
        self._hub = hub
        self._client = httpx.Client(
            base_url=f"https://127.0.0.1:{hub.info.https_port}",
            verify=ssl.create_default_context(cafile=hub.ca_bundle),
            timeout=20,
        )
        self.owner = (
            "Bearer "
            + OwnerKey.parse((hub.data / "owner.key").read_text())
            .mint("api", timedelta(hours=1), datetime.now(UTC))
            .reveal()
        )
        aviary.let_out("owner's bearer", self.owner.removeprefix("Bearer "))
        aviary.let_out("owner's key", (hub.data / "owner.key").read_text().strip())

    def ask(self, method: str, path: str, body: Any = None, *, credential: str, ok: bool) -> None:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = self._client.request(method, path, content=content, headers={"authorization": credential})
        assert (answer.status_code < 300) is ok, (method, path, answer.status_code, answer.text[:300])
        if not ok:
            self._aviary.heard[f"error {len(self._aviary.heard)} of {method} {path[:80]}"] = (
                str(answer.headers).encode() + answer.content
            )
            self._hub.attempts(limit="1")

    def close(self) -> None:
        self._client.close()


def _use(hub: Hub, aviary: Aviary, caller: Caller) -> None:
    """Every kind of secret that a request can hold: once as it should be, and in every wrong way that comes to mind."""
    owner, host = caller.owner, hub.hostname
    hub_key, dps_key = hub.info.hub_key.reveal(), hub.info.dps_key.reveal()
    aviary.let_out("hub policy key", hub_key)
    aviary.let_out("provisioning policy key", dps_key)
    service = aviary.token("service token", host, hub_key, "iothubowner")
    dps = aviary.token("provisioning token", host, dps_key, "provisioningserviceowner")

    keys = {"primaryKey": aviary.key("device primary"), "secondaryKey": aviary.key("device secondary")}
    device = {"deviceId": "canary", "authentication": {"type": "sas", "symmetricKey": keys}}
    caller.ask("PUT", f"/devices/canary?{API}", device, credential=service, ok=True)
    for wrong in (
        {**device, "deviceId": "other"},
        {**device, "status": 7},
        {**device, "authentication": {"type": "sas", "symmetricKey": {**keys, "primaryKey": aviary.key("short")[:8]}}},
        {**device, "authentication": {"type": "sas", "symmetricKey": [*keys.values()]}},
        {**device, "authentication": {"type": keys["primaryKey"]}},
        json.dumps(device).encode()[:-3],
    ):
        caller.ask("PUT", f"/devices/canary?{API}", wrong, credential=service, ok=False)

    master = {"primaryKey": aviary.key("group primary"), "secondaryKey": aviary.key("group secondary")}
    group = {"enrollmentGroupId": "canaries", "attestation": {"type": "symmetricKey", "symmetricKey": master}}
    caller.ask("PUT", f"/enrollmentGroups/canaries?{DPS_API}", group, credential=dps, ok=True)
    caller.ask("PUT", f"/enrollmentGroups/other?{DPS_API}", group, credential=dps, ok=False)
    caller.ask("PUT", f"/enrollmentGroups/canaries?{DPS_API}", {**group, "etag": "x"}, credential=dps, ok=False)

    code = aviary.let_out("web hook's code", "canary-function-code-Zm9v")
    hook = {"webhookUrl": f"https://hooks.plant.example/api?code={code}", "apiVersion": "2019-03-31"}
    custom = {"allocationPolicy": "custom", "customAllocationDefinition": hook}
    own = {"primaryKey": aviary.key("enrollment primary"), "secondaryKey": aviary.key("enrollment secondary")}
    single = {"registrationId": "canary", "attestation": {"type": "symmetricKey", "symmetricKey": own}, **custom}
    caller.ask("PUT", f"/enrollments/canary?{DPS_API}", single, credential=dps, ok=True)
    for url in (f"ftp://hooks.plant.example/?code={code}", f"https://user:{code}@hooks.plant.example:99999/"):
        broken = {**custom, "customAllocationDefinition": {**hook, "webhookUrl": url}}
        caller.ask("PUT", f"/enrollments/broken?{DPS_API}", {**single, **broken}, credential=dps, ok=False)

    linked = f"HostName=west.example;SharedAccessKeyName=iothubowner;SharedAccessKey={aviary.key('linked hub')}"
    path = "/moorage/v1/linked-hubs/west.example"
    caller.ask("PUT", path, {"connectionString": linked}, credential=owner, ok=True)
    for text in (linked.replace("HostName", "Host"), linked + "~", linked.replace("SharedAccessKeyName=", "Name=")):
        caller.ask("PUT", path, {"connectionString": text}, credential=owner, ok=False)

    container = aviary.let_out("container's signature", "canary-container-signature")
    for uri in (f"https://store.example/c?sig={container}", f"nonsense://c?sig={container}"):
        job = {"type": "export", "outputBlobContainerUri": uri, "excludeKeysInExport": True}
        caller.ask("POST", f"/jobs/create?{API}", job, credential=service, ok=uri.startswith("https"))

    # Credentials that are nearly right.
    for wrong_one in (
        hub_key,
        f"SharedAccessKey={hub_key}",
        hub.connection_string,
        service + "x",
        service.replace("skn=iothubowner", "skn=nobody"),
        service.replace("SharedAccessSignature ", "SharedAccessSignature"),
        aviary.token("other key", host, keys["primaryKey"], "iothubowner"),
        owner + "0",
        owner.replace(".api.", ".sign-in."),
        owner.removeprefix("Bearer "),
        f"Basic {base64.b64encode(keys['primaryKey'].encode()).decode()}",
    ):
        caller.ask("GET", f"/devices/canary?{API}", credential=wrong_one, ok=False)


async def _connect(hub: Hub, aviary: Aviary) -> None:
    """The device, let in; and with its secrets in every place of CONNECT where a hurried person puts them."""
    secret = aviary.canaries["device primary"]
    token = aviary.token("device token", f"{hub.hostname}/devices/canary", secret)
    string = f"HostName={hub.hostname};DeviceId=canary;SharedAccessKey={secret}"
    right = f"{hub.hostname}/canary/?api-version=2021-04-12"
    shown: list[tuple[str, str, str]] = [
        ("canary", right, token),
        ("canary", right, secret),
        ("canary", right, string),
        ("canary", right, token + "x"),
        ("canary", right, token.replace("&se=", "&se=1&se=")),
        ("canary", string, token),
        ("canary", token, ""),
        (string, right, token),
        ("canary", f"{hub.hostname}/canary/{token}", ""),
        (token, right, quote(token)),
        ("canary", f"{right}&DeviceClientType={quote(string)}", "wrong"),
        ("canary", f"{hub.id_scope}/registrations/canary/api-version=2019-03-31", token),
    ]
    for client_id, user_name, password in shown:
        client = await Client.dial(hub.info.mqtt_port, tls_context(hub.ca_bundle))
        await client.say_hello(client_id, user_name=user_name, password=password.encode())
        if "/registrations/" in user_name:
            await client.subscribe("$dps/registrations/res/#")
            client.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", b"{}")
            await client.acks(1)
            await client.next()
        client.close()
        # Of one name's attempts a second holds few: they are written down when somebody looks.
        hub.attempts(limit="1")


async def _attach(hub: Hub, aviary: Aviary) -> None:
    """The same over AMQP: in SASL PLAIN, as tokens and their names on `$cbs`, in addresses and properties of links."""
    secret = aviary.canaries["device primary"]
    token = aviary.token("device token over AMQP", f"{hub.hostname}/devices/canary", secret)
    string = f"HostName={hub.hostname};DeviceId=canary;SharedAccessKey={secret}"
    user = f"canary@sas.{hub.hostname}"
    plain: list[tuple[str, str]] = [(user, token), (user, secret), (user, token + "x"), (string, token), (token, "")]
    put: list[tuple[str, str]] = [
        (token, "canary"),
        (token + "x", token),
        (token.replace("&se=", "&se=1&se="), string),
        (secret, secret),
        (aviary.canaries["service token"], string),
    ]
    properties = {"com.microsoft:client-version": string, "com.microsoft:channel-correlation-id": token}
    addresses = ("/devices/canary/messages/events", f"/devices/{quote(string, safe='')}/twin", f"/{quote(token)}")
    for (name, password), (value, audience) in zip(plain, put, strict=True):
        client = await AMQPClient.dial(hub.info.amqp_port, tls_context(hub.ca_bundle))
        if not await client.say_hello(PLAIN, plain_response(name, password)):
            await client.put_token(value, name=audience)
            for address in addresses:
                await client.attach(address, properties=properties)
        client.close()
        other = await AMQPClient.dial(hub.info.amqp_port, tls_context(hub.ca_bundle))
        await other.say_hello()
        await other.put_token(value, name=audience, kind=CBS_TOKEN if audience != token else token)
        for address in addresses:
            await other.attach(address, properties=properties)
        aviary.heard[f"AMQP {len(aviary.heard)}"] = b"".join(each.data for each in (*client.frames, *other.frames))
        other.close()
        hub.attempts(limit="1")


def _run_commands(hub: Hub, aviary: Aviary, folder: Path) -> None:
    """Commands that are given a password, the right one and a wrong one."""
    right, wrong = (aviary.let_out(f"{each} PFX password", f"canary-{each}-password") for each in ("right", "wrong"))
    out = folder / "pfx"
    made = hub.moorage("cert", "device", "canary", "--pfx-password", right, "--out", str(out))
    file = str(next(out.glob("*.pfx")))
    looked = hub.moorage("doctor", "cert", file, "--pfx-password", right)
    refused = hub.moorage("doctor", "cert", file, "--pfx-password", wrong, code=1)
    aviary.heard["commands"] = (made + looked + refused).encode()


def test_no_secret_is_in_anything_that_the_hub_writes(tmp_path: Path) -> None:
    aviary = Aviary()
    with running_hub(tmp_path / "hub") as hub:
        caller = Caller(hub, aviary)
        try:
            _use(hub, aviary, caller)
        finally:
            caller.close()
        asyncio.run(_connect(hub, aviary))
        asyncio.run(_attach(hub, aviary))
        _run_commands(hub, aviary, tmp_path)
        attempts = hub.attempts(limit="1000")
        assert len(attempts) > 15
        aviary.heard["attempts"] = json.dumps(attempts, ensure_ascii=False).encode()
        aviary.heard["moorage explain"] = hub.moorage("explain", "--device", "canary").encode()
    aviary.heard["log"] = hub.log.read_bytes()
    assert b"moorage.audit" in aviary.heard["log"] and b"refused reason=" in aviary.heard["log"]
    for file in sorted(hub.data.rglob("*")):
        if file.is_file() and file.name not in KEEPERS and not file.name.endswith("_key.pem"):
            aviary.heard[file.name] = file.read_bytes()
    assert len(aviary.canaries) >= 20 and len(aviary.heard) > 25
    assert sorted(set(aviary.sightings())) == []


@pytest.mark.parametrize("where", ["plain", "quoted"])
def test_a_canary_that_sings_is_heard(where: str) -> None:
    """The search itself."""
    aviary = Aviary()
    secret = aviary.key("device + slash/")
    text = secret if where == "plain" else quote(secret, safe="")
    aviary.heard["log"] = f"key={text}".encode()
    assert list(aviary.sightings()) == ["device + slash/ in log"]
