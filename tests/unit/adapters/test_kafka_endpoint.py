"""What a Kafka endpoint has to say, before anything is called."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.adapters.broker_policy import BrokerList
from moorage.adapters.endpoints.kafka import check_kafka
from moorage.dialects.routing_json import parse_endpoint
from moorage.errors import Invalid

BROKERS = BrokerList.of(["127.0.0.1", "*.kafka.example"])


def checked(**said: Any) -> None:
    body = {"kind": "kafka", "address": "kafka://127.0.0.1:9092", **said}
    check_kafka(parse_endpoint("there", body, None), BROKERS)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"address": "kafka://127.0.0.1/"},
        {"address": "kafka+tls://b-1.kafka.example:9094, b-2.kafka.example:9094"},
        {"options": {"topic": "a.b_C-9", "value": "document"}},
        {"address": "kafka+tls://b-1.kafka.example", "credential": "ann:a:b", "options": {"sasl": "plain"}},
        {"credential": "ann:secret", "options": {"sasl": "scram-sha-256"}},
    ],
)
def test_an_endpoint_that_can_work_is_taken(said: dict[str, Any]) -> None:
    checked(**said)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"address": "https://127.0.0.1:9092"}, "endpoint.address"),
        ({"address": "kafka://"}, "endpoint.address"),
        ({"address": "kafka://127.0.0.1:9092,"}, "endpoint.address"),
        ({"address": "kafka://user:secret@127.0.0.1:9092"}, "endpoint.address"),
        ({"address": "kafka://127.0.0.1:99999"}, "endpoint.address"),
        ({"address": "kafka://127.0.0.1:9092/topic"}, "endpoint.address"),
        ({"address": "kafka://" + ",".join(["127.0.0.1"] * 21)}, "endpoint.address"),
        ({"address": "kafka://127.0.0.1:9092,10.0.0.1:9092"}, "endpoint.broker"),
        ({"address": "kafka://kafka.example:9092"}, "endpoint.broker"),
        ({"options": {"topic": "no topic"}}, "endpoint.option"),
        ({"options": {"topic": ""}}, "endpoint.option"),
        ({"options": {"topic": ".."}}, "endpoint.option"),
        ({"options": {"topic": "t" * 250}}, "endpoint.option"),
        ({"options": {"value": "xml"}}, "endpoint.option"),
        ({"options": {"sasl": "gssapi"}}, "endpoint.option"),
        ({"options": {"acks": "0"}}, "endpoint.option"),
        ({"credential": "token"}, "endpoint.credential"),
        ({"credential": ":secret"}, "endpoint.credential"),
        ({"options": {"sasl": "scram-sha-512"}}, "endpoint.credential"),
        ({"credential": "ann:secret"}, "endpoint.option"),
    ],
)
def test_one_that_cannot_is_refused_at_once(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked(**said)
    assert refused.value.reason == reason
    assert "secret" not in refused.value.message
