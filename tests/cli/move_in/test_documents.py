"""What of each document of an application can be written to another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moorage.cli.move_in.documents import (
    KINDS,
    body_of,
    cloud_properties,
    parents_first,
    settable_properties,
    thumbprints,
)
from moorage.cli.move_in.sources import FolderSource, write_folder


def organization(name: str, parent: str = "") -> dict[str, Any]:
    return {"id": name, "displayName": name} | ({"parent": parent} if parent else {})


def names(documents: list[dict[str, Any]]) -> list[str]:
    return [str(each["id"]) for each in documents]


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        ([], []),
        ([organization("b", "a"), organization("a")], ["a", "b"]),
        ([organization("c", "b"), organization("b", "a"), organization("a")], ["a", "b", "c"]),
        ([organization("b", "gone"), organization("a")], ["a", "b"]),
        ([organization("a", "b"), organization("b", "a"), organization("c")], ["c", "a", "b"]),
    ],
    ids=["none", "a child first", "three levels backwards", "a parent that is not told", "a circle"],
)
def test_parents_come_before_their_children_and_nobody_is_lost(given: list[dict[str, Any]], ordered: list[str]) -> None:
    assert names(parents_first(given)) == ordered


def test_what_the_service_writes_itself_is_not_sent_back() -> None:
    device = {"id": "pump-01", "etag": '"1"', "displayName": "Pump", "provisioned": True, "enabled": True}
    assert body_of(device) == {"displayName": "Pump", "enabled": True}


def test_cloud_properties_and_what_writable_ones_were_asked_to_be_are_chosen_and_reported_ones_not() -> None:
    properties = {
        "site": "Ghent",
        "serialNumber": "S-1",
        "targetTemperature": 19,
        "thermostat1": {
            "targetTemperature": 20,
            "maxTempSinceLastReboot": 30,
            "$metadata": {"targetTemperature": {"desiredValue": 22}, "maxTempSinceLastReboot": {}},
        },
        "thermostat2": {"maxTempSinceLastReboot": 31, "$metadata": {"maxTempSinceLastReboot": {}}},
        "$metadata": {"targetTemperature": {"desiredValue": 21.5, "ackCode": 200}, "serialNumber": {}},
    }
    assert settable_properties(properties, frozenset({"site"})) == {
        "site": "Ghent",
        "targetTemperature": 21.5,
        "thermostat1": {"targetTemperature": 22},
    }


def test_cloud_properties_are_told_by_their_type_alone() -> None:
    contents = [
        {"@type": ["Property", "Cloud", "StringValue"], "name": "site"},
        {"@type": ["Property", "Initialized"], "name": "target"},
        {"@type": "Telemetry", "name": "temperature"},
    ]
    assert cloud_properties({"capabilityModel": {"contents": contents}}) == {"site"}
    assert cloud_properties({}) == frozenset()


@pytest.mark.parametrize(
    ("attestation", "found"),
    [
        ({"type": "symmetricKey"}, {}),
        ({"type": "x509", "x509": {"clientCertificates": {}}}, {}),
        (
            {"type": "x509", "x509": {"clientCertificates": {"primary": {"info": {"sha1Thumbprint": "ab12"}}}}},
            {"primary": "AB12"},
        ),
        (
            {
                "type": "x509",
                "x509": {
                    "clientCertificates": {
                        "primary": {"info": {"sha1Thumbprint": "AA"}},
                        "secondary": {"info": {"sha1Thumbprint": "BB"}},
                    }
                },
            },
            {"primary": "AA", "secondary": "BB"},
        ),
    ],
    ids=["keys", "no certificate", "one", "two"],
)
def test_thumbprints_of_an_attestation_are_by_slot_and_in_capitals(
    attestation: dict[str, Any], found: dict[str, str]
) -> None:
    assert thumbprints(attestation, "clientCertificates") == found


def test_what_is_kept_is_what_was_read_this_time(tmp_path: Path) -> None:
    told, kept = tmp_path / "told", tmp_path / "kept"
    told.mkdir()
    (told / "organizations.jsonl").write_text('{"id": "a"}\n')
    (told / "devices.jsonl").write_text('{"id": "pump-1"}\n')
    write_folder(FolderSource(told), kept)
    (told / "devices.jsonl").write_text("")
    found = write_folder(FolderSource(told), kept)
    assert [
        [item["id"] for item in found.items(kind)] for kind in KINDS if kind.name in ("organizations", "devices")
    ] == [
        ["a"],
        [],
    ]
