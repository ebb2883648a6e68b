"""Routes and endpoints from the command line, and declared in files, on a running hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.errors import Refusal
from tests.hubs import Hub, running_hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("routes") / "hub", "--kafka-brokers", "*.kafka.example") as hub:
        yield hub


@pytest.fixture(autouse=True)
def clean(hub: Hub) -> Iterator[None]:
    yield
    hub.request("PUT", "/moorage/v1/fallback-route", body={"isEnabled": True, "endpoints": ["events"]})
    for path, member, key in (("routes", "routes", "name"), ("enrichments", "enrichments", "key")):
        for each in hub.request("GET", f"/moorage/v1/{path}")[member]:
            hub.request("DELETE", f"/moorage/v1/{path}/{each[key]}")
    for each in hub.request("GET", "/moorage/v1/endpoints")["endpoints"]:
        hub.request("DELETE", f"/moorage/v1/endpoints/{each['name']}")


def test_a_route_is_made_shown_tried_and_removed(hub: Hub, tmp_path: Path) -> None:
    credential = tmp_path / "credential.txt"
    credential.write_text("Bearer s3cret\n")
    said = hub.moorage(
        "endpoint", "add", "hook", "https://hooks.example/in?code=1", "--credential", str(credential), "--batch", "7"
    )
    assert "hooks.example" in said and "code" not in said
    hub.moorage("route", "add", "hot", "--to", "hook", "--condition", "level = 'hot'")
    hub.moorage("route", "enrich", "site", "$twin.tags.site", "--to", "hook")
    hub.moorage("route", "fallback", "--off")
    endpoint = hub.request("GET", "/moorage/v1/endpoints/hook")
    assert (endpoint["kind"], endpoint["batch"], endpoint["hasCredential"]) == ("webhook", 7, True)
    assert "hot" in hub.moorage("route", "list")
    assert "hook" in hub.moorage("endpoint", "list")
    told = hub.moorage("route", "test", "--property", "level=cold")
    assert "hot: no, this comparison is false" in told
    assert "level = 'hot'\n    ^" in told
    assert "goes nowhere" in told
    assert "0 delivered" in hub.moorage("endpoint", "dead-letters", "hook", "--replay")
    hub.moorage("route", "enrich", "site", "--remove")
    hub.moorage("route", "remove", "hot")
    hub.moorage("endpoint", "remove", "hook")
    assert hub.request("GET", "/moorage/v1/endpoints")["endpoints"] == []


def test_sources_are_listed_with_why_and_switched(hub: Hub) -> None:
    listed = hub.moorage("telemetry", "sources")
    assert "twinChangeEvents\tyes\tthe setting names it" in listed
    hub.moorage("route", "add", "born", "--to", "events", "--source", "DeviceLifecycleEvents")
    assert "deviceLifecycleEvents\tyes\ta route asks for it" in hub.moorage("telemetry", "sources")
    switched = hub.moorage("telemetry", "sources", "--off", "deviceLifecycleEvents")
    assert "deviceLifecycleEvents\tno\tswitched off" in switched
    hub.request("PATCH", "/moorage/v1/events", body={"deviceLifecycleEvents": None})


def test_events_of_the_hub_are_shown_with_their_source(hub: Hub) -> None:
    hub.request("PUT", "/devices/shown", body={"deviceId": "shown"})
    hub.request("PATCH", "/twins/shown", body={"tags": {"site": "north"}})
    line = hub.moorage("telemetry", "tail", "--device", "shown", "--count", "1")
    assert "shown twinChangeEvents" in line and '"site": "north"' in line


DECLARED = """
endpoint:
  hook: {kind: webhook, address: "https://hooks.example/in?code=1", batch: 7}
route:
  hot: {to: [hook], condition: "level = 'hot'"}
  born: {to: [events, hook], source: deviceLifecycleEvents}
enrichment:
  site: {value: $twin.tags.site, to: [hook]}
"""


def test_what_is_declared_is_made_once_and_changed_where_it_differs(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(DECLARED)
    hub.moorage("apply", str(file))
    assert "Nothing to do: 4 as declared." in hub.moorage("apply", str(file))
    file.write_text(DECLARED.replace("'hot'", "'warm'").replace("batch: 7", "batch: 8"))
    told = hub.moorage("apply", str(file))
    assert "level = 'hot' -> level = 'warm'" in told and "batch: 7 -> 8" in told
    routes = hub.request("GET", "/moorage/v1/routes")["routes"]
    assert [(each["name"], each["condition"]) for each in routes] == [("hot", "level = 'warm'"), ("born", "true")]
    out = tmp_path / "out.yaml"
    hub.moorage("export", str(out), "--only", "route", "--only", "endpoint", "--only", "enrichment")
    exported = out.read_text()
    assert "https://hooks.example/***" in exported and "code" not in exported
    assert "Nothing to do" in hub.moorage("apply", str(out))


def test_an_address_with_stars_makes_no_endpoint(hub: Hub) -> None:
    with pytest.raises(Refusal, match="stars"):
        hub.request(
            "PUT", "/moorage/v1/endpoints/new", body={"kind": "webhook", "address": "https://hooks.example/***"}
        )


def test_json_is_one_document(hub: Hub) -> None:
    (answer,) = hub.ask("route", "test", "--body", "[1]")
    assert answer["endpoints"] == ["events"]
    assert json.dumps(answer)


def test_kafka_is_an_endpoint_at_brokers_that_are_vouched_for(hub: Hub, tmp_path: Path) -> None:
    credential = tmp_path / "credential.txt"
    credential.write_text("ann:hush-hush\n")
    brokers = "kafka+tls://b-1.kafka.example:9094,b-2.kafka.example:9094"
    more = ("--credential", str(credential), "--option", "topic=plant", "--option", "sasl=scram-sha-512")
    told = hub.moorage("endpoint", "add", "line", brokers, *more)
    assert f"Endpoint line is at {brokers}/" in told
    (shown,) = hub.ask("endpoint", "show", "line")
    assert (shown["kind"], shown["hasCredential"]) == ("kafka", True)
    assert shown["options"] == {"topic": "plant", "sasl": "scram-sha-512"}
    assert "hush" not in json.dumps(shown)
    assert "waiting" in hub.moorage("endpoint", "list")
    other = {"kind": "kafka", "address": "kafka+tls://b-1.kafka.test"}
    with pytest.raises(Refusal, match=r"endpoint\.credential.*was for kafka\+tls://b-1\.kafka\.example:9094"):
        hub.request("PUT", "/moorage/v1/endpoints/line", body=other)
    with pytest.raises(Refusal, match=r"endpoint\.broker.*b-1\.kafka\.test:9092"):
        hub.request("PUT", "/moorage/v1/endpoints/line", body=other | {"credential": "ann:hush-hush"})
    assert hub.ask("endpoint", "show", "line") == [shown]
