"""Which brokers the setting kafka_brokers names."""

from __future__ import annotations

import pytest

from moorage.adapters.broker_policy import NO_BROKERS, BrokerList, parse_place

LISTED = BrokerList.of(["kafka-1.example", "kafka-2.example:9093", "*.msk.example", "10.0.0.7:9092", "[::1]:9092"])


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("kafka-1.example", 9092),
        ("KAFKA-1.Example.", 31000),
        ("kafka-2.example", 9093),
        ("b-1.msk.example", 9098),
        ("b-1.one.msk.example", 9098),
        ("10.0.0.7", 9092),
        ("::1", 9092),
        ("0:0:0:0:0:0:0:1", 9092),
    ],
)
def test_a_broker_that_is_listed_is_vouched_for(host: str, port: int) -> None:
    assert LISTED.names(host, port)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("kafka-2.example", 9092),
        ("kafka-3.example", 9092),
        ("msk.example", 9098),
        ("evilmsk.example", 9098),
        ("kafka-1.example.evil.test", 9092),
        ("10.0.0.7", 22),
        ("10.0.0.70", 9092),
        ("", 9092),
        ("127.0.0.1", 9092),
    ],
)
def test_any_other_is_not(host: str, port: int) -> None:
    assert not LISTED.names(host, port)
    assert not NO_BROKERS.names(host, port)


def test_nothing_lies_below_an_address() -> None:
    assert not BrokerList.of(["*.0.0.1"]).names("127.0.0.1", 9092)


@pytest.mark.parametrize(
    "text", ["", ":9092", "host:", "host:0", "host:65536", "a b", "user@host", "kafka://host", "::1", "[::1", "h:1:2"]
)
def test_what_is_no_place_of_a_broker_is_none(text: str) -> None:
    assert parse_place(text) is None


def test_a_place_is_a_host_and_perhaps_a_port() -> None:
    assert parse_place("Host.Example") == ("host.example", None)
    assert parse_place("[::1]:9092") == ("::1", 9092)
