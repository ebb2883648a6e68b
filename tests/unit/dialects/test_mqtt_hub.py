"""IoT Hub's MQTT, word by word: user names of every SDK, topics, filters, and what the hub answers on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects import mqtt_hub
from moorage.dialects.mqtt_hub import (
    MethodAnswer,
    TwinGet,
    TwinReport,
    parse_filter,
    parse_method_reply,
    parse_request,
    parse_user_name,
)
from moorage.errors import Invalid, RemoteProtocolError
from moorage.hub.methods import BadDeviceReply, MethodReply
from moorage.hub.model import CloudMessage
from moorage.ids import DEFAULT_HUB, DeviceId, IdentityName, ModuleId

PUMP = IdentityName(DeviceId("pump-01"))
VISION = IdentityName(DeviceId("pump-01"), ModuleId("vision"))
NOW = datetime(2030, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)

# contract/devices.md 9.2.
ids = st.text("abcXYZ019-:.+%_#*?!(),=@;$'", min_size=1, max_size=20)


def login(user_name: str) -> tuple[str, str, str, str | None, str]:
    read = parse_user_name(user_name)
    return read.host, str(read.name), read.api_version, read.model_id, read.client_type


# --- user names (2.2) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_name", "expected"),
    [
        ("hub.example/pump-01", ("hub.example", "pump-01", "", None, "")),
        ("hub.example/pump-01/", ("hub.example", "pump-01", "", None, "")),
        ("hub.example/pump-01/vision", ("hub.example", "pump-01/vision", "", None, "")),
        (
            "hub.example/pump-01/?api-version=2019-10-01&DeviceClientType=azure-iot-device%2F2.14.0%20%28Linux%29",
            ("hub.example", "pump-01", "2019-10-01", None, "azure-iot-device/2.14.0 (Linux)"),
        ),
        (
            "hub.example/pump-01/vision/?api-version=2019-10-01",
            ("hub.example", "pump-01/vision", "2019-10-01", None, ""),
        ),
        # Node: the model comes before the client, and as it is.
        (
            "hub.example/pump-01/?api-version=2021-04-12&model-id=dtmi:a:b;1&DeviceClientType=node",
            ("hub.example", "pump-01", "2021-04-12", "dtmi:a:b;1", "node"),
        ),
        ("hub.example/pump-01/?model-id=dtmi%3Aa%3Ab%3B1", ("hub.example", "pump-01", "", "dtmi:a:b;1", "")),
        # edgeHub also takes parameters without the mark, and the oldest form with slashes between them.
        ("hub.example/pump-01/api-version=2016-11-14", ("hub.example", "pump-01", "2016-11-14", None, "")),
        (
            "hub.example/pump-01/api-version=2016-11-14/DeviceClientType=old",
            ("hub.example", "pump-01", "2016-11-14", None, "old"),
        ),
        (
            "hub.example/pump-01/vision/api-version=2016-11-14/DeviceClientType=old",
            ("hub.example", "pump-01/vision", "2016-11-14", None, "old"),
        ),
        (
            "hub.example/pump-01/?api-version=1&DeviceClientType=raw/1.0 (x/y)",
            ("hub.example", "pump-01", "1", None, "raw"),
        ),
        (
            "hub.example/pump-01/vision/?api-version=1&DeviceClientType=raw/1.0",
            ("hub.example", "pump-01/vision", "1", None, "raw"),
        ),
        ("hub.example/pump-01/?api-version=1&api-version=2&x&=&y==", ("hub.example", "pump-01", "1", None, "")),
        ("hub.example/pump-01/?", ("hub.example", "pump-01", "", None, "")),
        # Ids are never decoded, and may look like almost anything.
        ("hub.example/a%41?b#c/?api-version=1", ("hub.example", "a%41?b#c", "1", None, "")),
        ("hub.example/a/?m=1/?api-version=1", ("hub.example", "a/?m=1", "1", None, "")),
        ("hub.example/a/m=1/?api-version=1", ("hub.example", "a/m=1", "1", None, "")),
        ("hub.example/api-version=1/?api-version=2", ("hub.example", "api-version=1", "2", None, "")),
    ],
)
def test_user_names_of_every_kind_are_read(user_name: str, expected: tuple[str, ...]) -> None:
    assert login(user_name) == expected


@pytest.mark.parametrize(
    ("user_name", "reason"),
    [
        ("", "login.user_name"),
        ("hub.example", "login.user_name"),
        ("/pump-01", "login.user_name"),
        ("hub.example/a/b/c", "login.user_name"),
        ("hub.example/", "id.device"),
        ("hub.example/a b/?x=1", "id.device"),
        ("hub.example/ü", "id.device"),
        ("hub.example/" + "a" * 129, "id.device"),
        ("hub.example/a/b c/?x=1", "id.module"),
    ],
)
def test_user_names_that_name_nobody_are_refused(user_name: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_user_name(user_name)
    assert caught.value.reason == reason


@given(ids, st.one_of(st.none(), ids))
def test_any_id_survives_the_user_name_that_sdks_make(device: str, module: str | None) -> None:
    name = device if module is None else f"{device}/{module}"
    read = parse_user_name(f"hub.example/{name}/?api-version=2021-04-12&DeviceClientType=x")
    assert (str(read.name), read.api_version) == (name, "2021-04-12")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert str(parse_user_name(text).name)
    except Invalid as refusal:
        assert refusal.reason in ("login.user_name", "id.device", "id.module")


# --- filters (2.4) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (PUMP, "devices/pump-01/messages/devicebound/#", ("messages",)),
        (PUMP, "$iothub/methods/POST/#", ("methods",)),
        (PUMP, "$iothub/twin/res/#", ("twin_answers",)),
        (PUMP, "$iothub/twin/PATCH/properties/desired/#", ("desired",)),
        (PUMP, "$iothub/credentials/res/#", ("credentials",)),
        (VISION, "devices/pump-01/modules/vision/messages/devicebound/#", ("messages",)),
        (VISION, "devices/pump-01/modules/vision/inputs/#", ("inputs",)),
        (VISION, "devices/pump-01/modules/vision/#", ("messages", "inputs")),
        (VISION, "$iothub/methods/POST/#", ("methods",)),
    ],
)
def test_documented_filters_are_understood(name: IdentityName, text: str, expected: tuple[str, ...]) -> None:
    assert parse_filter(text, name) == expected


@pytest.mark.parametrize("name", [PUMP, VISION])
@pytest.mark.parametrize(
    "text",
    ["", "#", "+", "devices/#", "devices/pump-02/messages/devicebound/#", "devices/pump-01/messages/devicebound/+",
     "devices/pump-01/messages/events/#", "devices/pump-01/modules/other/#", "$iothub/methods/#",
     "$iothub/methods/POST",
     "$iothub/credentials/#", "$dps/registrations/res/#", "devices/pump-01/modules/vision/inputs/in1/#"],
)  # fmt: skip
def test_anything_else_is_not(name: IdentityName, text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_filter(text, name)
    assert caught.value.reason == "mqtt.filter"


@given(ids, ids)
def test_one_device_never_hears_another(mine: str, theirs: str) -> None:
    name = IdentityName(DeviceId(mine))
    text = f"devices/{theirs}/messages/devicebound/#"
    if mine == theirs:
        assert parse_filter(text, name) == ("messages",)
    else:
        with pytest.raises(RemoteProtocolError):
            parse_filter(text, name)


# --- what devices publish (2.8, 2.9) ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("$iothub/twin/GET/?$rid=1", TwinGet("1")),
        ("$iothub/twin/GET/?$rid=0f8fad5b-d9cb-469f-a165-708677", TwinGet("0f8fad5b-d9cb-469f-a165-708677")),
        ("$iothub/twin/PATCH/properties/reported/?$rid=a", TwinReport("a", None)),
        ("$iothub/twin/PATCH/properties/reported/?$rid=a&$version=12", TwinReport("a", 12)),
        ("$iothub/methods/res/200/?$rid=1f", MethodAnswer("1f", 200)),
        ("$iothub/methods/res/-1/?$rid=%31f", MethodAnswer("1f", -1)),
    ],
)  # fmt: skip
def test_requests_are_understood(topic: str, expected: object) -> None:
    assert parse_request(topic.encode()) == expected


@pytest.mark.parametrize(
    "topic",
    ["$iothub/twin/GET/", "$iothub/twin/GET/?$rid=", "$iothub/twin/GET/?$rid=1/x", "$iothub/twin/GET/?$rid=1&$rid=2",
     "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=-1", "$iothub/twin/PATCH/properties/desired/?$rid=1",
     "$iothub/twin/PATCH/properties/reported/?$rid=1&$version=٣", "$iothub/methods/res/200/?$rid=1/",
     "$iothub/methods/res//?$rid=1", "$iothub/methods/res/12345678901/?$rid=1", "$iothub/methods/POST/x/?$rid=1",
     "$iothub/twin/GET/?$rid=" + "x" * 257, " $iothub/twin/GET/?$rid=1", "$iothub/twin/GET/?$rid=1\n"],
)  # fmt: skip
def test_what_is_no_request_is_not(topic: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_request(topic.encode())
    assert caught.value.reason == "mqtt.topic"


@given(st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_topic_is_a_request_or_refused(topic: bytes) -> None:
    for data in (topic, b"$iothub/twin/GET/" + topic, b"$iothub/methods/res/1/" + topic):
        try:
            parse_request(data)
        except RemoteProtocolError as error:
            assert error.reason == "mqtt.topic"


@given(st.text("abcdef0123456789-", min_size=1, max_size=36), st.integers(1, 10**9))
def test_an_answer_carries_the_request_id_as_it_came_and_first(rid: str, version: int) -> None:
    assert parse_request(f"$iothub/twin/GET/?$rid={rid}".encode()) == TwinGet(rid)
    assert mqtt_hub.twin_answer_topic(200, rid) == f"$iothub/twin/res/200/?$rid={rid}".encode()
    assert (
        mqtt_hub.twin_answer_topic(204, rid, version) == f"$iothub/twin/res/204/?$rid={rid}&$version={version}".encode()
    )


def test_events_go_where_the_contract_says() -> None:
    assert mqtt_hub.events_prefix(PUMP) == b"devices/pump-01/messages/events"
    assert mqtt_hub.events_prefix(VISION) == b"devices/pump-01/modules/vision/messages/events"


@pytest.mark.parametrize("bag", [b"", b"a=b", b"a=%zz&b=%4", b"%C3%BC=%F0%9F%8C%8A", b"a=100%"])
def test_bags_that_can_be_read(bag: bytes) -> None:
    assert mqtt_hub.bag_is_readable(bag)


@pytest.mark.parametrize("bag", [b"a=%ff", b"%C3=1", b"%ED%A0%80"])
def test_bags_that_cannot(bag: bytes) -> None:
    assert not mqtt_hub.bag_is_readable(bag)


@given(st.binary(max_size=60))
def test_the_size_of_a_bag_is_that_of_what_it_says(said: bytes) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in said).encode()
    assert mqtt_hub.bag_size(encoded) == len(said)
    assert mqtt_hub.bag_size(b"a%4" + encoded) == len(said) + 3


# --- what the hub publishes ------------------------------------------------------------------------------------------


def test_an_error_has_what_node_looks_for() -> None:
    error = json.loads(mqtt_hub.error_body(400004, "wrong", "ABC", NOW))
    assert error["errorCode"] == 400004
    assert (error["message"], error["trackingId"]) == ("wrong", "ABC")
    assert error["timestampUtc"].endswith("Z")


def test_patches_and_calls_have_nothing_behind_their_last_word() -> None:
    assert mqtt_hub.desired_patch_topic(7) == b"$iothub/twin/PATCH/properties/desired/?$version=7"
    assert mqtt_hub.method_request_topic("reboot", "1f") == b"$iothub/methods/POST/reboot/?$rid=1f"


def message(name: IdentityName = PUMP, **more: object) -> CloudMessage:
    fields: dict[str, object] = {
        "hub": DEFAULT_HUB, "name": name, "sequence": 1, "message_id": "m-1", "enqueued": NOW, "expires": NOW,
        "body": b"", "properties": {}, "correlation_id": None, "user_id": None, "content_type": None,
        "content_encoding": None, "ack": "none",
    }  # fmt: skip
    return CloudMessage(**{**fields, **more})  # type: ignore[arg-type]  # as the tests spell them


def test_the_smallest_message_has_a_bag_that_begins_with_to() -> None:
    assert mqtt_hub.cloud_message_topic(message()).startswith(
        b"devices/pump-01/messages/devicebound/%24.to=%2Fdevices%2Fpump-01%2Fmessages%2FdeviceBound&%24.mid=m-1&"
    )
    assert mqtt_hub.cloud_message_topic(message(VISION)).startswith(
        b"devices/pump-01/modules/vision/messages/devicebound/"
        b"%24.to=%2Fdevices%2Fpump-01%2Fmodules%2Fvision%2Fmessages%2FdeviceBound&"
    )


def test_times_have_seven_digits_and_are_utc() -> None:
    """.NET reads no other."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=2)))
    topic = mqtt_hub.cloud_message_topic(message(expires=elsewhere)).decode()
    assert "&%24.exp=2030-01-02T03%3A04%3A05.6789000Z&" in topic


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.dictionaries(texts.filter(lambda key: key != "iothub-ack" and key[0] != "$"), texts, max_size=5), texts)
def test_a_message_survives_the_way_a_device_takes_its_topic_apart(
    properties: dict[str, str], correlation_id: str
) -> None:
    properties = {
        key.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for key, value in properties.items()
    }
    correlation_id = correlation_id.encode("utf-8", "replace").decode()
    topic = mqtt_hub.cloud_message_topic(message(properties=properties, correlation_id=correlation_id)).decode()
    segments = topic.split("/")
    # C# and Node split at every slash: the bag is the fifth segment, whole.
    assert len(segments) == 5
    pairs = [pair.split("=") for pair in segments[4].split("&")]
    assert all(len(pair) == 2 and pair[1] for pair in pairs)
    assert pairs[0][0] == "%24.to"
    read = {unquote(key): unquote(value) for key, value in pairs}
    assert read.pop("$.cid") == correlation_id
    for system in ("$.to", "$.mid", "$.exp", "iothub-ack"):
        read.pop(system)
    assert read == properties


@pytest.mark.parametrize("status", [2**31, -(2**31) - 1, 9_999_999_999, 2**64 - 1])
def test_a_status_that_32_bits_do_not_hold_is_a_bad_reply(status: int) -> None:
    reply = parse_method_reply(MethodAnswer("1", status), b"{}")
    assert isinstance(reply, BadDeviceReply)
    assert str(status) in reply.message


@pytest.mark.parametrize("status", [2**31 - 1, -(2**31), 0])
def test_any_other_status_is_the_devices_own(status: int) -> None:
    assert parse_method_reply(MethodAnswer("1", status), b"{}") == MethodReply(status, {})
