"""What devices sent, as it is handed on: whatever was let in can be read, routed and written, by everybody.

An input is a property bag, a line feed, and a body. A bag that a device may not send is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from moorage.adapters.endpoints import files
from moorage.adapters.endpoints.records import record_of
from moorage.dialects.amqp_events import stored_message
from moorage.dialects.bag import decode_bag
from moorage.dialects.json_text import encode_json
from moorage.dialects.mqtt_hub import bag_is_readable
from moorage.dialects.routed_message import RoutedMessage
from moorage.dialects.telemetry_json import telemetry_json
from moorage.errors import RemoteProtocolError
from moorage.hub.router import Outgoing
from moorage.hub.telemetry_log import SourceHeader, StoredMessage
from moorage.protocols.amqp.message import Message
from moorage.protocols.mqtt.topics import parse_topic_name
from moorage.query.routes import parse_route_condition
from tests.fuzz.targets.model import Target

__all__ = ["TARGETS"]

_SOURCE: Final = SourceHeader("hub", "Telemetry", "pump-01", None, "1", '{"scope":"device"}', "dtmi:a:b;1")
_CONDITION: Final = parse_route_condition(
    "$body.a[0].b = 1 OR level = 'hot' OR is_defined($contentType) AND as_number($body.n) > 2 OR $dt-subject != 'x'"
)


def _check(data: bytes) -> None:
    bag, _, body = data.partition(b"\n")
    try:
        parse_topic_name(b"devices/pump-01/messages/events/" + bag)
    except RemoteProtocolError:
        return
    if not bag_is_readable(bag):
        return
    message = StoredMessage(_SOURCE, 0, 7, 4096, 1_900_000_000_000, bag, body)
    # For readers over AMQP.
    read = Message.decode(stored_message(message))
    assert read.body == body and read.properties is not None
    assert set(read.application_properties) >= set(decode_bag(bag).properties)
    # For readers over REST, for routes, and in files.
    document = encode_json(telemetry_json(message))
    assert json.loads(document)["deviceId"] == "pump-01"
    routed = RoutedMessage(message, lambda name: {"tags": {}})
    assert _CONDITION.matches(routed) == (_CONDITION.explain(routed) is None)
    outgoing = [Outgoing("pump-01", 4096, document, body), Outgoing("pump-01", -1, document, None)]
    assert record_of(outgoing[0]).body == body
    for write in (files._avro, files._json_lines):
        assert write(outgoing)


def _seeds() -> Iterable[bytes]:
    yield b'%24.ct=application%2Fjson&%24.ce=utf-8&level=hot\n{"a": [{"b": 1}], "n": "3"}'
    yield b"%24.mid=1&%24.exp=2030-01-01T00%3A00%3A00Z&%24.uid=u&a=b%20c&flag\n\x00\xff"
    yield b"$.ct=application/json&$.ce=utf-16&dt-subject=s\n" + '{"a": "ü"}'.encode("utf-16")
    yield b"$.cid=%C3%BC&$.ct=caf%C3%A9&iothub-ack=full&=&a\n"


TARGETS: Final = (
    Target(
        "stored_messages",
        _check,
        _seeds,
        (b"%24.ct=", b"$.exp=", b"%00", b"&", b"=", b"\n", b"utf-32", b"%F0%9F%98%80"),
    ),
)
