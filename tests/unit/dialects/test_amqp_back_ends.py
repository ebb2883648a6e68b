"""Words of back ends over AMQP: what is stored as readers get it, and whom a message is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.amqp_events import Start, start_of, stored_message
from moorage.dialects.amqp_service import draft_of, recipients
from moorage.errors import Invalid
from moorage.hub.telemetry_log import SourceHeader, StoredMessage
from moorage.protocols.amqp.message import Message, Properties
from moorage.protocols.amqp.performatives import Source
from moorage.protocols.amqp.types import Described, Long, Symbol, Timestamp

SELECTOR = "apache.org:selector-filter:string"
SOURCE = SourceHeader("hub", "Telemetry", "pump-01", None, "638", '{"scope":"device"}', "dtmi:pump;1")


def read(bag: bytes, source: SourceHeader = SOURCE) -> Message:
    return Message.decode(stored_message(StoredMessage(source, 2, 7, 4096, 1_700_000_000_123, bag, b"\xff body")))


def test_a_stored_message_has_the_shape_that_readers_know() -> None:
    message = read(b"%24.mid=m-1&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=pump&place=hall%203&flag")
    annotations = message.message_annotations
    assert annotations == {
        "x-opt-sequence-number": 7,
        "x-opt-offset": "4096",
        "x-opt-enqueued-time": 1_700_000_000_123,
        "x-opt-partition-key": "pump-01",
        "iothub-connection-device-id": "pump-01",
        "iothub-connection-auth-method": '{"scope":"device"}',
        "iothub-connection-auth-generation-id": "638",
        "iothub-enqueuedtime": 1_700_000_000_123,
        "iothub-message-source": "Telemetry",
        "dt-dataschema": "dtmi:pump;1",
        "dt-subject": "pump",
    }
    # Clients compare and subtract them: the types matter (services.md 4.5).
    types = {name: type(annotations[name]) for name in ("x-opt-sequence-number", "x-opt-offset", "iothub-enqueuedtime")}
    assert types == {"x-opt-sequence-number": Long, "x-opt-offset": str, "iothub-enqueuedtime": Timestamp}
    properties = message.properties
    assert properties is not None
    assert (properties.message_id, properties.content_type, properties.content_encoding) == (
        "m-1",
        "application/json",
        "utf-8",
    )
    assert message.application_properties == {"place": "hall 3", "flag": ""}
    assert message.body == b"\xff body"


def test_a_module_is_named() -> None:
    assert read(b"", SOURCE._replace(module_id="camera")).message_annotations["iothub-connection-module-id"] == "camera"


_PAIRS = st.sampled_from(
    [b"%24.mid", b"%24.cid", b"%24.uid", b"%24.to", b"%24.ct", b"%24.ce", b"%24.exp", b"%24.sub", b"a"]
)


@given(st.one_of(st.binary(max_size=200), st.lists(st.tuples(_PAIRS, st.binary(max_size=40)), max_size=5)))
def test_no_bag_stops_a_reader(given_bag: bytes | list[tuple[bytes, bytes]]) -> None:
    """A message that could not be encoded would stand in the way of all behind it."""
    bag = given_bag if isinstance(given_bag, bytes) else b"&".join(name + b"=" + value for name, value in given_bag)
    message = read(bag)
    assert message.properties is not None
    assert message.message_annotations["x-opt-offset"] == "4096"
    assert all(isinstance(value, str) for value in message.application_properties.values())


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("amqp.annotation.x-opt-offset > '-1'", Start()),
        ("amqp.annotation.x-opt-offset >= '-1'", Start()),
        ("amqp.annotation.x-opt-offset > '@latest'", Start(is_latest=True)),
        ("amqp.annotation.x-opt-offset > '41'", Start(offset=42)),
        ("amqp.annotation.x-opt-offset >= '41'", Start(offset=41)),
        ("amqp.annotation.x-opt-sequence-number > 41", Start(sequence=42)),
        ("amqp.annotation.x-opt-enqueued-time > '41'", Start(time_ms=42)),
        ("amqp.annotation.x-opt-enqueuedtimeutc > 41", Start(time_ms=42)),
    ],
)
def test_selectors(text: str, start: Start) -> None:
    assert start_of(Source("x", filter={SELECTOR: Described(Symbol(SELECTOR), text)})) == start


@given(st.text(max_size=80))
def test_any_other_selector_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        start_of(Source("x", filter={SELECTOR: Described(Symbol(SELECTOR), text)}))
    assert refused.value.reason == "reader.filter"


@pytest.mark.parametrize(
    ("to", "names"),
    [
        ("/devices/pump/messages/devicebound", ["pump"]),
        ("/Devices/pump/Messages/DeviceBound", ["pump"]),
        # Encoded by Node, raw by Python: which of the two it was cannot be seen.
        ("/devices/a%25b/messages/devicebound", ["a%b", "a%25b"]),
        ("/devices/a'b%20c/messages/devicebound", ["a'b%20c"]),
        ("/devices/a%2Fb/messages/devicebound", ["a%2Fb"]),
        ("/devices/pump/modules/cam/messages/devicebound", ["pump/cam"]),
    ],
)
def test_whom_a_message_is_for(to: str, names: list[str]) -> None:
    assert [str(name) for name in recipients(Message(properties=Properties(to=to)))] == names


@pytest.mark.parametrize("to", [None, "", "/", "pump", "/devices/pump", "/devices/a b/messages/devicebound"])
def test_a_message_for_nobody_is_refused(to: str | None) -> None:
    with pytest.raises(Invalid):
        recipients(Message(properties=Properties(to=to)))


def test_what_is_ours_of_the_properties_goes_no_further() -> None:
    asked = {"iothub-ack": "full", "ack": "mine", "site": "7"}
    draft = draft_of(Message(properties=Properties(message_id="m"), application_properties=asked, data=b"x"))
    assert (draft.ack, draft.properties, draft.message_id) == ("full", {"ack": "mine", "site": "7"}, "m")
