"""Devices that provision over AMQP (contract/devices.md 6.4): a pair of links to `{scope}/registrations/{id}`.

A link is accepted whoever attaches it. The device is judged when it registers, for the answer to that has room for a
reason: a "no" is a rejected outcome whose description is the service's error document.
"""

from __future__ import annotations

from typing import Any, Final, cast

from moorage.attempts.model import Door
from moorage.dialects.amqp_address import Address
from moorage.dialects.amqp_text import body_of
from moorage.dialects.dps_exchange import Caller, DpsExchange, Reply
from moorage.dialects.dps_json import MAX_BODY_BYTES
from moorage.dialects.json_text import encode_json
from moorage.dialects.refusals import WireError
from moorage.errors import Invalid, Refusal
from moorage.protocols.amqp.links import Delivery, Link
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import Accepted, Error, Rejected
from moorage.protocols.amqp.types import Int
from moorage.servers.amqp.nodes import LinkHandler, Outbox
from moorage.servers.amqp.stream import AMQPStream

__all__ = ["ProvisioningNode"]

# A device asks, waits and asks again.
_CREDIT: Final = 8
# As over MQTT: a registration is polled every few seconds and done within a minute.
_PATIENCE_S: Final = 300.0
_MAX_REQUEST_BYTES: Final = MAX_BODY_BYTES + 4 * 1024


class ProvisioningNode:
    """Every registration of the provisioning service."""

    door: Final = "dps"

    def __init__(self, exchange: DpsExchange) -> None:
        self.exchange = exchange

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        return len(address.words) == 3 and address.words[1] == "registrations"

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        # No link keeps the connection of a stranger open: what it asks does.
        peer.stay(_PATIENCE_S)
        if not link.is_receiver:
            peer.accept(link)
            return _Answers(peer, link, address)
        peer.accept(link, credit=_CREDIT, max_message_bytes=_MAX_REQUEST_BYTES)
        return _Questions(self, peer, link, address)


class _Answers(Outbox):
    __slots__ = ("address",)

    keeps_open = False

    def __init__(self, peer: AMQPStream, link: Link, address: Address) -> None:
        super().__init__(peer, link)
        self.address = address


class _Questions(LinkHandler):
    __slots__ = ("_address", "_link", "_node", "_peer")

    keeps_open = False

    def __init__(self, node: ProvisioningNode, peer: AMQPStream, link: Link, address: Address) -> None:
        self._node = node
        self._peer = peer
        self._link = link
        self._address = address

    def delivered(self, delivery: Delivery) -> None:
        message = delivery.message
        self._peer.stay(_PATIENCE_S)
        self._peer.run(lambda: self._answer(delivery, message))

    async def _answer(self, delivery: Delivery, message: Message) -> None:
        try:
            reply = await self._reply(message)
        except Refusal as refusal:
            self._peer.reject(delivery, refusal)
            return
        if reply.status >= 400:
            self._peer.count_refused()
            self._peer.settle(delivery, Rejected(_error(reply)))
            return
        self._peer.settle(delivery, Accepted())
        answers = self._answers()
        if answers is not None:
            properties = message.properties
            answers.say(_message(None if properties is None else properties.correlation_id, reply))

    async def _reply(self, message: Message) -> Reply:
        exchange, caller = self._node.exchange, self._caller()
        asked = message.application_properties
        operation = asked.get("iotdps-operation-type")
        if operation == "iotdps-register":
            return await exchange.register(caller, body_of(message))
        if operation == "iotdps-get-operationstatus":
            return await exchange.poll(caller, str(asked.get("iotdps-operation-id") or ""))
        raise Invalid("dps.operation", f"a provisioning device registers and polls, not {str(operation)[:80]!r}")

    def _caller(self) -> Caller:
        peer, segments = self._peer, self._address.segments
        stream = peer.stream
        door = "dps.amqp-ws" if stream.carrier == "websocket" else "dps.amqp"
        presented = peer.presented(segments[1:])
        return Caller(segments[0], segments[2], presented, cast(Door, door), stream.tls_version, peer.client)

    def _answers(self) -> _Answers | None:
        for link in self._link.session.links.values():
            handler = link.context
            if isinstance(handler, _Answers) and handler.address.words == self._address.words:
                return handler
        return None


def _message(correlation: Any, reply: Reply) -> bytes:
    # Node reads the one, .NET the other.
    wait = reply.retry_after_s
    application: dict[str, object] = {} if wait is None else {"retry-after": Int(wait), "Retry-After": Int(wait)}
    return Message(
        properties=Properties(correlation_id=correlation, content_type="application/json"),
        application_properties=application,
        data=encode_json(reply.body),
    ).encode()


def _error(reply: Reply) -> Error:
    code = int(reply.body["errorCode"])
    info: dict[str, object] = {} if reply.retry_after_s is None else {"retry-after": Int(reply.retry_after_s)}
    return Error(WireError(code, "", code).condition, encode_json(reply.body).decode(), info)
