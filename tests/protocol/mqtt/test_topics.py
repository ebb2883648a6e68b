"""Names and filters, parsed whole and matched whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.errors import RemoteProtocolError
from moorage.protocols.mqtt.topics import TopicFilter, TopicName, is_match, parse_topic_filter, parse_topic_name
from tests.protocol.mqtt.strategies import topic_filters, topic_names


def slowly(topic_filter: TopicFilter, name: TopicName) -> bool:
    """The rules of 4.7 as a regular expression over text."""
    text, topic = topic_filter.decode(), name.decode()
    if topic[0] == "$" and text[0] in "+#":
        return False
    if text == "#":
        return True
    pattern = re.escape(text).replace(r"\+", "[^/]*")
    if pattern.endswith(r"/\#"):
        pattern = pattern.removesuffix(r"/\#") + "(/.*)?"
    return re.fullmatch(pattern, topic, re.DOTALL) is not None


@given(topic_filters, topic_names)
@settings(deadline=None, max_examples=300)
def test_matching_agrees_with_a_slow_obvious_oracle(topic_filter: TopicFilter, name: TopicName) -> None:
    assert is_match(topic_filter, name) is slowly(topic_filter, name)


@given(topic_names, st.data())
@settings(deadline=None, max_examples=300)
def test_matching_agrees_with_the_oracle_on_filters_made_from_the_name(name: TopicName, data: st.DataObject) -> None:
    levels = name.decode().split("/")
    levels = [data.draw(st.sampled_from([level, "+"])) for level in levels]
    levels = levels[: data.draw(st.integers(0, len(levels)))]
    text = "/".join(levels + data.draw(st.sampled_from([[], ["#"], ["+"], [""]])))
    if text:
        topic_filter = parse_topic_filter(text)
        assert is_match(topic_filter, name) is slowly(topic_filter, name)


@pytest.mark.parametrize(
    ("topic_filter", "name", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("sport/#", "sports", False),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/x", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/x", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("a/b", "a/b/c/secret", False),
        ("a/b/c", "a/b", False),
        ("Accounts", "ACCOUNTS", False),
        ("a//b", "a/b", False),
    ],
)
def test_mqtt_4_7_the_standards_own_examples(topic_filter: str, name: str, expected: bool) -> None:
    assert is_match(parse_topic_filter(topic_filter), parse_topic_name(name)) is expected


@pytest.mark.parametrize("text", ["#", "+", "a/#", "+/a/#", "a/+/b", "/", "//", "$iothub/twin/res/#", "ü/+", "a b"])
def test_a_legal_filter_is_its_own_bytes(text: str) -> None:
    assert parse_topic_filter(text) == parse_topic_filter(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("raw", "reason", "clause"),
    [
        ("", "mqtt.topic_filter", "MQTT-4.7.3-1"),
        ("a#", "mqtt.topic_filter", "MQTT-4.7.1-2"),
        ("a/#/b", "mqtt.topic_filter", "MQTT-4.7.1-2"),
        ("##", "mqtt.topic_filter", "MQTT-4.7.1-2"),
        ("#/", "mqtt.topic_filter", "MQTT-4.7.1-2"),
        ("a+", "mqtt.topic_filter", "MQTT-4.7.1-3"),
        ("a/b+/c", "mqtt.topic_filter", "MQTT-4.7.1-3"),
        ("++", "mqtt.topic_filter", "MQTT-4.7.1-3"),
        ("x" * 65536, "mqtt.topic_filter", "MQTT-4.7.3-3"),
        ("a\0", "mqtt.utf8", "MQTT-1.5.3-2"),
        ("\udfff", "mqtt.utf8", "MQTT-1.5.3-1"),
        (b"\xff", "mqtt.utf8", "MQTT-1.5.3-1"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_illegal_filter_is_refused_with_its_clause(raw: str | bytes, reason: str, clause: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_topic_filter(raw)
    assert (caught.value.reason, caught.value.clause) == (reason, clause)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("raw", "reason", "clause"),
    [
        ("", "mqtt.topic_name", "MQTT-4.7.3-1"),
        ("a/#", "mqtt.topic_name", "MQTT-3.3.2-2"),
        ("a/+/b", "mqtt.topic_name", "MQTT-3.3.2-2"),
        ("ü" * 32768, "mqtt.topic_name", "MQTT-4.7.3-3"),
        ("a\0b", "mqtt.utf8", "MQTT-1.5.3-2"),
        (b"a\xed\xa0\x80", "mqtt.utf8", "MQTT-1.5.3-1"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_illegal_name_is_refused_with_its_clause(raw: str | bytes, reason: str, clause: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_topic_name(raw)
    assert (caught.value.reason, caught.value.clause) == (reason, clause)


def test_a_name_of_the_most_bytes_is_taken() -> None:
    assert len(parse_topic_name("ü" * 32767 + "x")) == 65535
