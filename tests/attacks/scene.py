"""One case against one door of a hub: what an attacker can arrange, do and hear.

A `Ground` is a hub with a CA that is proven, a group of devices below it and a shared key, for many cases; a `Scene` is
one case on it, under names of its own. Everything goes over sockets, with bytes as an attacker would make them.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from moorage.attempts.model import Attempt
from moorage.dialects.mqtt_dps import ANSWER_FILTER
from moorage.dialects.reasons import REASONS
from moorage.dialects.refusals import BY_CLASS, BY_REASON
from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint
from moorage.identities.owner import OwnerKey
from moorage.identities.sas import key_bytes, make_token, sign
from moorage.ids import DEFAULT_HUB, Secret, Thumbprint
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import Error
from moorage.protocols.amqp.sasl import ANONYMOUS, EXTERNAL, PLAIN
from moorage.protocols.mqtt.packets import ConnAck, PingReq, PingResp, Publish
from tests import certs
from tests.attacks.table import AMQP_DOORS, LET_IN, Case, Door, Outcome
from tests.servers.amqp_clients import AMQPClient, Link, dial_amqp, plain_response
from tests.servers.clients import Client, tls_context
from tests.servers.http_clients import RawHTTP, Response
from tests.servers.websockets import dial_mqtt
from tests.servers.world import KEY, OTHER_KEY, World

__all__ = ["API", "DPS_API", "SEND", "Connected", "Ground", "Scene", "ask_registration", "device_address", "forged"]

API = "api-version=2021-04-12"
DPS_API = "api-version=2021-10-01"

# Where a back end sends messages to devices.
SEND = "/messages/devicebound"

# Where an attempt at a door is written down to have been made.
_WRITTEN: dict[Door, str] = {"hub AMQP": "hub.amqp", "hub AMQP PLAIN": "hub.amqp", "DPS AMQP": "dps.amqp"}

# What goes wrong on a socket when the hub closes it, at whatever moment.
_CLOSED = (EOFError, ConnectionError, ssl.SSLError)


def forged(resource: str, expiry: str, key: Secret, *, policy: str | None = None, signature: str | None = None) -> str:
    """A token of exactly these fields, `resource` as it stands in it; signed by `key` unless it is given."""
    made = quote(sign(resource, expiry, key_bytes(key)), safe="") if signature is None else signature
    token = f"SharedAccessSignature sr={resource}&sig={made}&se={expiry}"
    return token if policy is None else f"{token}&skn={policy}"


class Ground:
    """A hub that many cases share, and what is true of it for all of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.plant = certs.root("Attacked Plant")
        self.owner = OwnerKey.parse((world.app.config.data / "owner.key").read_text())
        self._made: set[str] = set()

    @property
    def scope(self) -> str:
        return self.world.app.info().id_scope

    def bearer(self) -> str:
        return "Bearer " + self.owner.mint("api", timedelta(hours=1), self.world.clock.now()).reveal()

    def policy_key(self, scope: str, name: str) -> Secret:
        policy = self.world.policies.get(DEFAULT_HUB, "dps" if scope == "dps" else "hub", name)
        return policy.primary

    def policy_token(self, scope: str = "hub", name: str = "iothubowner", resource: str = "localhost") -> str:
        expires = self.world.clock.now() + timedelta(hours=1)
        return make_token(resource, self.policy_key(scope, name), expires, name).reveal()

    async def once(self, name: str, make: Callable[[], Awaitable[object]]) -> None:
        """Arrange what several cases rely on, for the first of them."""
        if name not in self._made:
            self._made.add(name)
            await make()

    async def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        *headers: str,
        credential: str | None = None,
        issued: certs.Issued | None = None,
    ) -> Response:
        """One request in exactly these words on a connection of its own."""
        context = tls_context(self.world.app.info().ca_bundle, issued)
        sent = [*headers] if credential is None else [f"Authorization: {credential}", *headers]
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        async with RawHTTP(self.world, context) as http:
            http.ask(method, target, *sent, body=content)
            return await http.response()

    async def arrange(self, method: str, target: str, body: Any = None, *, scope: str = "dps") -> Any:
        """A call that has to succeed, as the owner of the policies; what it answered."""
        name = "provisioningserviceowner" if scope == "dps" else "iothubowner"
        credential = self.bearer() if target.startswith("/moorage") else self.policy_token(scope, name)
        answer = await self.call(method, target, body, credential=credential)
        assert answer.status < 300, answer
        return json.loads(answer.body) if answer.body else None

    async def with_plant(self) -> None:
        """The plant's CA, proven for the hub, and the group of its devices."""

        async def make() -> None:
            await self.world.upload(self.plant, "plant")
            await self.group("plant-devices", self.plant)

        await self.once("plant", make)

    async def group(self, name: str, ca: certs.Issued, **more: Any) -> Any:
        signing = {"signingCertificates": {"primary": {"certificate": ca.certificate.pem}}}
        body = {"enrollmentGroupId": name, "attestation": {"type": "x509", "x509": signing}, **more}
        return await self.arrange("PUT", f"/enrollmentGroups/{name}?{DPS_API}", body)

    async def key_group(self, name: str, key: Secret) -> None:
        keys = {"primaryKey": key.reveal(), "secondaryKey": key.reveal()}
        attestation = {"type": "symmetricKey", "symmetricKey": keys}
        body = {"enrollmentGroupId": name, "attestation": attestation}
        await self.arrange("PUT", f"/enrollmentGroups/{name}?{DPS_API}", body)

    async def enroll(self, name: str, attestation: dict[str, Any], **more: Any) -> Any:
        body = {"registrationId": name, "attestation": attestation, **more}
        return await self.arrange("PUT", f"/enrollments/{name}?{DPS_API}", body)

    def ended(self) -> dict[str, float]:
        """How many sessions were ended, by reason, as /metrics has it."""
        name = "moorage_sessions_ended_total"
        families = self.world.app.metrics.registry.restricted_registry([name]).collect()
        samples = (sample for family in families for sample in family.samples)
        return {each.labels["reason"]: each.value for each in samples if each.name == name}


def device_address(name: str, rest: str = "messages/events") -> str:
    """Of a link of the device or module `name`."""
    return "/devices/" + "/modules/".join(quote(part, safe="") for part in name.split("/", 1)) + f"/{rest}"


class Connected:
    """A device's AMQP connection with a link for its telemetry."""

    def __init__(self, client: AMQPClient, link: Link) -> None:
        self.client = client
        self.link = link

    async def is_alive(self) -> bool:
        """Whether the hub still takes what is sent on the link."""
        try:
            return await self.client.send(self.link, Message(data=b"alive")) is None
        except _CLOSED:
            return False

    async def is_cut(self) -> str:
        """The condition of the detach, once that came and the connection is closed after it."""
        error = await self.client.detached(self.link)
        await self.client.rest()
        return "closed" if error is None else error.condition


class Scene:
    """`name` is the victim's; `honest` lets the victim in, once somebody was arranged.

    `in_websocket`: every connection to a door of MQTT or AMQP is made in a WebSocket on the HTTPS port.
    """

    def __init__(self, ground: Ground, case: Case, door: Door, *, in_websocket: bool = False) -> None:
        self.ground = ground
        self.world = ground.world
        self.door = door
        self._in_websocket = in_websocket
        self.name = f"{case.number.lower()}-{door.replace(' ', '-').lower()}{'-ws' if in_websocket else ''}"
        self.honest: Callable[[], Awaitable[str]] | None = None
        self.told_reason = ""
        # What the latest refusal over AMQP said.
        self.error: Error | None = None
        self._refused: list[Attempt] = []
        self._clients: list[Client | AMQPClient] = []

    @property
    def is_hub(self) -> bool:
        """Whether it is devices of the hub that are let in here."""
        return self.door.startswith("hub ")

    @property
    def is_service(self) -> bool:
        return self.door.startswith("service ")

    @property
    def is_amqp(self) -> bool:
        return self.door in AMQP_DOORS

    async def play(self, case: Case) -> Outcome:
        """What the attacker heard and what was written down; then the twin has to be let in."""
        before = self.ground.ended()
        stop = self.world.app.attempts.listen(self._refused.append)
        try:
            answer = await case.act(self)
            outcome = Outcome(answer, await self._reason(before))
            if case.no_twin:
                assert self.honest is None, f"{case.number} has a twin, and says that it has none"
            else:
                assert self.honest is not None, f"{case.number} lets nobody in: say why with no_twin"
                assert await self.honest() == LET_IN[self.door], f"the twin of {case.number} is kept out"
        finally:
            stop()
            for client in self._clients:
                client.close()
        return outcome

    async def _reason(self, before: dict[str, float]) -> str:
        """Of the latest attempt that was refused; else why a session was ended; else what the answer's header said."""
        if self._refused:
            latest = self._refused[-1]
            (stored,) = await self.world.app.attempts.find(
                DEFAULT_HUB, device=None, thumbprint=None, tracking_id=latest.tracking_id, limit=1
            )
            assert stored.reason is not None and stored.message, stored
            if self.is_amqp:
                self._check_amqp(stored, stored.reason)
            return stored.reason
        ended = [reason for reason, count in self.ground.ended().items() if count > before.get(reason, 0)]
        return ended[0] if ended else self.told_reason

    def _check_amqp(self, stored: Attempt, reason: str) -> None:
        """What was written down is of this door; what the link was told is the reason's column of AMQP."""
        written = _WRITTEN.get(self.door)
        if written is None:
            # A token is put on the hub's connection, whatever it is for.
            assert stored.door in ("service", "hub.amqp-ws" if self._in_websocket else "hub.amqp"), stored
        elif self.door == "hub AMQP PLAIN" and stored.claimed_id == "iothubowner":
            # Who gives a policy's name is a back end, also where devices are let in.
            assert stored.door == "service", stored
        else:
            assert stored.door == (f"{written}-ws" if self._in_websocket else written), stored
        error = self.error
        if error is None or self.door == "DPS AMQP":
            return
        kind = REASONS[reason].kind
        assert kind is not None
        row = BY_REASON.get(reason) or BY_CLASS[kind]
        assert error.condition == row.condition, error
        assert (error.description or "").startswith(f"ErrorCode:{row.name}; {row.code}: "), error
        assert error.info == {"com.microsoft:tracking-id": stored.tracking_id}, error

    # -- who is attacked -----------------------------------------------------------------------------------------------

    async def by_authority(self, name: str | None = None) -> certs.Issued:
        """A device whose certificate the plant's CA signs, known at this door; its certificate."""
        name = name or self.name
        await self.ground.with_plant()
        good = certs.device(self.ground.plant, name)
        if self.is_hub:
            await self.world.create(name, ByAuthority())
        if name == self.name:
            self.honest = lambda: self.show(issued=good)
        return good

    async def pinned(self, name: str | None = None, issued: certs.Issued | None = None) -> certs.Issued:
        """A device known by its own self-signed certificate; the certificate."""
        name = name or self.name
        good = issued or certs.self_signed(name)
        if self.is_hub:
            await self.world.create(name, ByThumbprint(Thumbprint(good.certificate.sha256), None))
        else:
            await self.enroll_pinned(name, good)
        if name == self.name:
            self.honest = lambda: self.show(issued=good)
        return good

    async def enroll_pinned(self, name: str, issued: certs.Issued, **more: Any) -> Any:
        clients = {"clientCertificates": {"primary": {"certificate": issued.certificate.pem}}}
        return await self.ground.enroll(name, {"type": "x509", "x509": clients}, **more)

    async def by_key(self, name: str | None = None) -> None:
        """A device with KEY and OTHER_KEY; at the service's door, a policy and a device that it may read."""
        name = name or self.name
        if self.is_hub or self.is_service:
            await self.world.create(name, BySharedKey(KEY, OTHER_KEY))
        else:
            keys = {"primaryKey": KEY.reveal(), "secondaryKey": OTHER_KEY.reveal()}
            await self.ground.enroll(name, {"type": "symmetricKey", "symmetricKey": keys})
        if name == self.name:
            self.honest = lambda: self.show(token=self.token())

    # -- tokens --------------------------------------------------------------------------------------------------------

    @property
    def key(self) -> Secret:
        """What the right token of this door is signed with."""
        return self.ground.policy_key("hub", "iothubowner") if self.is_service else KEY

    @property
    def policy(self) -> str | None:
        return "iothubowner" if self.is_service else None

    def audience(self, name: str | None = None) -> str:
        """What the right token of this door is for."""
        name = name or self.name
        if self.door == "service AMQP":
            return f"localhost{SEND}"
        if self.is_hub or self.is_service:
            device, slash, module = name.partition("/")
            return f"localhost/devices/{device}" + (f"/modules/{module}" if slash else "")
        return f"{self.ground.scope}/registrations/{name}"

    def in_an_hour(self) -> datetime:
        return self.world.clock.now() + timedelta(hours=1)

    def expiry(self, lives: timedelta = timedelta(hours=1)) -> str:
        return str(int((self.world.clock.now() + lives).timestamp()))

    def token(
        self,
        name: str | None = None,
        *,
        key: Secret | None = None,
        audience: str | None = None,
        expires: datetime | None = None,
        policy: str | None = None,
    ) -> str:
        """The right one, but for what is said."""
        until = expires or self.in_an_hour()
        return make_token(audience or self.audience(name), key or self.key, until, policy or self.policy).reveal()

    # -- what the attacker does ----------------------------------------------------------------------------------------

    async def show(
        self,
        name: str | None = None,
        *,
        issued: certs.Issued | None = None,
        token: str | None = None,
        sends: int | None = None,
        user_name: str | None = None,
        client_id: str | None = None,
        body: bytes | None = None,
        scope: str | None = None,
    ) -> str:
        """Ask to be let in as `name` with this credential; the answer:

        hub MQTT       `CONNACK 0`, `CONNACK 5`, or `closed`
        hub HTTPS      the status, and the name of the error: asks for the messages that wait for `name`
        DPS            `202`, `200 disabled`, the error code, or `closed`
        service REST   the status, and the name of the error: reads the device `name`
        AMQP           `attached`, the condition of a link's refusal, `CBS` with the status for a token, `SASL` with the
                       code, or `closed`; who was refused a token asks for the link all the same, and must not get it
        """
        name = name or self.name
        if self.door == "service REST":
            return await self.request("GET", f"/devices/{quote(name, safe='')}?{API}", credential=token)
        try:
            if self.door == "DPS AMQP":
                return await self._register_by_amqp(name, issued, token, sends, body, scope)
            if self.is_amqp:
                return await self._attach(name, issued, token, sends)
            if self.door == "hub HTTPS":
                return await self._receive_by_https(name, issued, token, sends)
            if self.door == "DPS HTTPS":
                return await self._register_by_https(name, issued, token, sends, body, scope)
            client = await self.dial(issued, sends)
            if self.door == "DPS MQTT":
                user_name = user_name or f"{scope or self.ground.scope}/registrations/{name}/api-version=2019-03-31"
                return await self._register_by_mqtt(client, client_id or name, user_name, token, body)
            answer = await client.say_hello(
                name, user_name=user_name, client_id=client_id, password=token.encode() if token else None
            )
        except _CLOSED:
            return "closed"
        assert isinstance(answer, ConnAck), answer
        return f"CONNACK {int(answer.return_code)}"

    async def dial(self, issued: certs.Issued | None = None, sends: int | None = None) -> Client:
        if self._in_websocket:
            client, _ = await dial_mqtt(self.world, issued, sends=sends)
        else:
            client = await self.world.dial(issued, sends=sends)
        self._clients.append(client)
        return client

    async def dial_amqp(self, issued: certs.Issued | None = None, sends: int | None = None) -> AMQPClient:
        """A connection over which nothing was said."""
        client = await dial_amqp(self.world, issued, sends=sends, in_websocket=self._in_websocket)
        self._clients.append(client)
        return client

    async def open_amqp(self, issued: certs.Issued | None = None, token: str | None = None) -> AMQPClient:
        """A connection on which whatever is shown was taken: a certificate, and a token by CBS."""
        client = await self.dial_amqp(issued)
        assert await client.say_hello(ANONYMOUS if issued is None else EXTERNAL) == 0
        if token is not None:
            assert await client.put_token(token) == 200, client.told
        return client

    def mark(self) -> int:
        """For `forget`."""
        return len(self._refused)

    def forget(self, since: int = 0) -> None:
        """What was refused since then is no part of the answer: the case has looked at it."""
        del self._refused[since:]
        self.error = None

    def heard_link(self, link: Link) -> str:
        """An attach's answer in the words of `show`."""
        self.error = link.error
        return "attached" if link.error is None else link.error.condition

    async def connect(self, name: str | None = None, **shown: Any) -> Client | Connected:
        """A session, over MQTT or AMQP, in whatever way this door's is; see `connect_mqtt`."""
        name = name or self.name
        if not self.is_amqp:
            return await self.connect_mqtt(name, **shown)
        issued = shown.get("issued")
        client = await self.open_amqp(issued, None if issued else self.token(name))
        link = await client.attach(device_address(name))
        assert link.error is None, link
        return Connected(client, link)

    async def connect_mqtt(self, name: str | None = None, **shown: Any) -> Client:
        """A session of `name` on the hub, which has to be let in: by a token of KEY, or as `shown` for `show`."""
        name = name or self.name
        issued = shown.get("issued")
        client = await self.dial(issued)
        answer = await client.say_hello(name, password=None if issued else self.token(name).encode())
        assert isinstance(answer, ConnAck) and answer.return_code == 0, answer
        return client

    @staticmethod
    async def is_alive(client: Client | Connected) -> bool:
        """Whether the hub still answers on this connection."""
        if isinstance(client, Connected):
            return await client.is_alive()
        client.say(PingReq())
        try:
            return await client.next() == PingResp()
        except _CLOSED:
            return False

    @staticmethod
    async def is_cut(client: Client | Connected) -> str:
        """`closed`, once the hub has closed; over AMQP the condition of the link's end. The rest is dropped."""
        if isinstance(client, Connected):
            return await client.is_cut()
        await client.rest()
        return "closed"

    async def request(
        self, method: str, target: str, body: Any = None, *headers: str, credential: str | None = None
    ) -> str:
        """The status, with the name or code of the error."""
        return self.heard(await self.ground.call(method, target, body, *headers, credential=credential))

    def heard(self, answer: Response) -> str:
        """An answer in the words of `show`; its reason is remembered."""
        self.told_reason = answer.headers.get("moorage-reason", "")
        error = answer.headers.get("iothub-errorcode") or answer.headers.get("x-ms-error-code", "")
        return f"{answer.status} {error}".strip()

    async def _receive_by_https(
        self, name: str, issued: certs.Issued | None, token: str | None, sends: int | None
    ) -> str:
        context = tls_context(self.world.app.info().ca_bundle, issued, sends=sends)
        # C sends the header with nothing in it beside a certificate.
        path = "/modules/".join(quote(part, safe="") for part in name.split("/", 1))
        async with RawHTTP(self.world, context) as http:
            http.ask("GET", f"/devices/{path}/messages/devicebound?{API}", f"Authorization: {token or ''}")
            return self.heard(await http.response())

    async def _attach(self, name: str, issued: certs.Issued | None, token: str | None, sends: int | None) -> str:
        client = await self.dial_amqp(issued, sends)
        address = SEND if self.is_service else device_address(name)
        if self.door == "hub AMQP PLAIN" and token is not None:
            user = f"{name.replace('/', '/modules/')}@sas.localhost"
            code = await client.say_hello(PLAIN, plain_response(user, token))
            if code:
                assert await client.rest() == []
                return f"SASL {code}"
            return self.heard_link(await client.attach(address))
        await client.say_hello(ANONYMOUS if issued is None else EXTERNAL)
        if token is not None:
            status = await client.put_token(token)
            if status != 200:
                # Whoever does not care tries all the same, and what is written down of that is another matter.
                count = self.mark()
                link = await client.attach(address)
                assert link.error is not None, "a link is open by a token that was refused"
                self.forget(count)
                return f"CBS {status}"
        return self.heard_link(await client.attach(address))

    async def _register_by_amqp(
        self,
        name: str,
        issued: certs.Issued | None,
        token: str | None,
        sends: int | None,
        body: bytes | None,
        scope: str | None,
    ) -> str:
        client = await self.dial_amqp(issued, sends)
        registration = f"{scope or self.ground.scope}/registrations/{quote(name, safe='')}"
        if token is not None:
            code = await client.say_hello(PLAIN, plain_response(registration, token))
            if code:
                assert await client.rest() == []
                return f"SASL {code}"
        else:
            await client.say_hello(ANONYMOUS if issued is None else EXTERNAL)
        return await ask_registration(client, f"amqps://localhost/{registration}", body or b"{}")

    async def _register_by_mqtt(
        self, client: Client, client_id: str, user_name: str, token: str | None, body: bytes | None
    ) -> str:
        hello = await client.say_hello(
            client_id, user_name=user_name, password=token.encode() if token else None, keep_alive_s=60
        )
        assert isinstance(hello, ConnAck)
        if hello.return_code:
            return f"CONNACK {int(hello.return_code)}"
        await client.subscribe(ANSWER_FILTER)
        client.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", body or b"{}")
        await client.acks(1)
        answer = await client.expect(Publish)
        status = answer.topic.decode().split("/")[3]
        return _registered(int(status), answer.body)

    async def _register_by_https(
        self,
        name: str,
        issued: certs.Issued | None,
        token: str | None,
        sends: int | None,
        body: bytes | None,
        scope: str | None,
    ) -> str:
        context = tls_context(self.world.app.info().ca_bundle, issued, sends=sends)
        headers = [] if token is None else [f"Authorization: {token}"]
        path = f"/{scope or self.ground.scope}/registrations/{quote(name, safe='')}/register?api-version=2021-06-01"
        async with RawHTTP(self.world, context) as http:
            http.ask("PUT", path, *headers, body=body or b"{}")
            answer = await http.response()
        return _registered(answer.status, answer.body)


async def ask_registration(client: AMQPClient, address: str, body: bytes, **asked: object) -> str:
    """Of the provisioning service, on a pair of links; the answer in the words of `Scene.show`."""
    answers = await client.attach(address, is_sender=False, credit=8)
    questions = await client.attach(address)
    for link in (answers, questions):
        if link.error is not None:
            return link.error.condition
    error = await client.send(
        questions,
        Message(
            properties=Properties(correlation_id="1"),
            application_properties={"iotdps-operation-type": "iotdps-register", **asked},
            data=body,
        ),
    )
    if error is not None:
        document = (error.description or "").encode()
        return _registered(json.loads(document)["errorCode"] // 1000, document)
    return _registered(202, (await client.received(answers)).body)


def _registered(status: int, body: bytes) -> str:
    document: dict[str, Any] = {}
    with suppress(ValueError):
        document = json.loads(body)
    if "errorCode" in document:
        assert document["errorCode"] // 1000 == status, document
        return str(document["errorCode"])
    return f"{status} {document['status']}" if document.get("status") == "disabled" else str(status)
