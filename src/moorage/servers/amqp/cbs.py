"""`$cbs`: tokens are put on a connection, and each put is answered (devices.md 4.2, services.md 3.2).

The answer goes to the link of the same session that receives from `$cbs`, whatever `reply-to` says, after the request
was accepted; it waits there until the peer gives credit. What is refused is written down as an attempt, and counts as
one. Clients compare the type of the correlation id, and the status
has to be an int.
"""

from __future__ import annotations

from typing import Final

from moorage.dialects.amqp_address import Address
from moorage.dialects.amqp_errors import amqp_description
from moorage.errors import Invalid, Refusal
from moorage.identities.sas import parse_audience, parse_token
from moorage.ids import Secret
from moorage.protocols.amqp.links import Delivery, Link
from moorage.protocols.amqp.message import ABSENT, Message, Properties
from moorage.protocols.amqp.performatives import Accepted
from moorage.protocols.amqp.types import Int, Symbol
from moorage.servers.amqp.credentials import folded_path
from moorage.servers.amqp.nodes import LinkHandler, Outbox
from moorage.servers.amqp.stream import AMQPStream

__all__ = ["CbsNode", "Replies", "answer_to", "replies_beside"]

_WORDS: Final = ("$cbs",)
_CREDIT: Final = 64
_MAX_REQUEST_BYTES: Final = 16 * 1024
_TOKEN_TYPE: Final = "servicebus.windows.net:sastoken"


class Replies(Outbox):
    """The link on which answers of a node are sent. `words` say of which one."""

    __slots__ = ("keeps_open", "words")

    def __init__(self, peer: AMQPStream, link: Link, words: tuple[str, ...], *, keeps_open: bool) -> None:
        super().__init__(peer, link)
        self.keeps_open = keeps_open
        self.words = words


def replies_beside(link: Link, words: tuple[str, ...], reply_to: str | None) -> Replies | None:
    """Where to answer what came on `link`: in its session, on a link from the same node, preferably the one named.

    `reply_to` alone is no guide: clients write `cbs`, the name of a link, or nothing (services.md 3.2 C-4).
    """
    found: Replies | None = None
    for other in link.session.links.values():
        handler = other.context
        if isinstance(handler, Replies) and handler.words == words:
            if reply_to and other.target is not None and other.target.address == reply_to:
                return handler
            found = found or handler
    return found


def answer_to(
    request: Message, status: int, description: str, value: object = ABSENT, *, condition: str | None = None
) -> Message:
    """The answer of a node that is asked by messages; `value` becomes its amqp-value section."""
    asked = request.properties
    said: dict[str, object] = {"status-code": Int(status), "status-description": description}
    if condition is not None:
        said["error-condition"] = Symbol(condition)
    return Message(
        properties=Properties(correlation_id=None if asked is None else asked.message_id),
        application_properties=said,
        value=value,
    )


class CbsNode:
    """The node of a hub; each session has its own pair of links."""

    door: Final = "hub"

    def serves(self, address: Address, *, is_receiver: bool) -> bool:
        return address.words == _WORDS

    def attach(self, peer: AMQPStream, link: Link, address: Address) -> LinkHandler:
        if not link.is_receiver:
            peer.accept(link)
            return Replies(peer, link, _WORDS, keeps_open=False)
        peer.accept(link, credit=_CREDIT, max_message_bytes=_MAX_REQUEST_BYTES)
        return _Requests(peer, link)


class _Requests(LinkHandler):
    __slots__ = ("_link", "_peer")

    keeps_open = False

    def __init__(self, peer: AMQPStream, link: Link) -> None:
        self._peer = peer
        self._link = link

    def delivered(self, delivery: Delivery) -> None:
        request = delivery.message
        # uamqp takes an answer that comes before this for a failure (C-3).
        self._peer.settle(delivery, Accepted())
        try:
            self._put(request)
        except Refusal as refusal:
            is_malformed = isinstance(refusal, Invalid) or refusal.reason == "token.malformed"
            told = f"{refusal.reason}: {refusal.message}" if is_malformed else amqp_description(refusal)
            answer = answer_to(request, 400 if is_malformed else 401, told)
            self._peer.record("hub", _claimed(request), refusal)
            self._peer.count_refused()
        else:
            answer = answer_to(request, 200, "OK")
        properties = request.properties
        replies = replies_beside(self._link, _WORDS, None if properties is None else properties.reply_to)
        if replies is not None:
            replies.say(answer.encode())

    def _put(self, request: Message) -> None:
        asked = request.application_properties
        if asked.get("operation") != "put-token":
            raise Invalid("cbs.request", f"$cbs knows put-token, and no {str(asked.get('operation'))[:80]!r}")
        if asked.get("type") != _TOKEN_TYPE:
            raise Invalid("cbs.request", f"$cbs takes a {_TOKEN_TYPE}, not {str(asked.get('type'))[:80]!r}")
        token = request.value
        if not isinstance(token, str):
            raise Invalid("cbs.request", "the body of put-token is the token, as a string")
        self._peer.refreshed(self._peer.credentials.put(Secret(token)))


def _claimed(request: Message) -> str:
    """Whom the token that is put names, as far as it can be read."""
    token = request.value
    try:
        path = parse_audience(parse_token(token).resource).path if isinstance(token, str) else ()
    except Refusal:
        return ""
    return Address(path, folded_path(path)).claimed
