"""Modules of an IoT Edge template, out of a deployment manifest (central.md DT-7, MAN-6)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.dtdl.parser import parse_interface
from moorage.errors import Invalid
from moorage.fleet.module_models import MAX_MODULES, manifest_modules, with_modules
from moorage.fleet.template_changes import compare
from tests.unit.dtdl.models import interface, telemetry

CONTENT: dict[str, Any] = {
    "$edgeAgent": {
        "properties.desired": {
            "systemModules": {"edgeAgent": {}},
            "modules": {"line-filter": {}, "42": {}, "line.filter": {}},
        }
    },
    "$edgeHub": {"properties.desired": {}},
    "line-filter": {"properties.desired": {"threshold": 21.5, "mode": "eco", "$schema": "x", "not-a-name": 1}},
}
MANIFEST = {"modulesContent": CONTENT}


def test_each_module_is_a_relationship_with_an_interface_of_its_own() -> None:
    modules = manifest_modules(MANIFEST)
    assert list(modules) == ["line-filter", "42", "line.filter"]
    model = parse_interface(with_modules(interface(telemetry()), modules))
    assert [each.name for each in model.relationships] == ["lineFilter", "module42", "lineFilter2"]
    first = model.relationships[0]
    assert (first.label, first.semantic_types) == ("line-filter", ("EdgeModule",))
    assert first.targets == ("dtmi:com:example:Pump:lineFilter;1",)
    assert [(each.name, each.is_writable, each.schema.kind) for each in first.interfaces[0].properties] == [
        ("threshold", True, "double"),
        ("mode", True, "string"),
    ]


def test_modules_that_are_there_stay_as_they_are() -> None:
    once = with_modules(interface(), manifest_modules({"content": MANIFEST}))
    once["contents"][0]["target"][0]["contents"].append(telemetry("added"))
    assert with_modules(once, manifest_modules(MANIFEST)) == once
    changes = compare(parse_interface(with_modules(interface(), manifest_modules(MANIFEST))), parse_interface(once))
    assert [(each.kind, each.spelled, each.is_breaking) for each in changes] == [("added", "lineFilter.added", False)]


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"modulesContent": []},
        {"modulesContent": {"$edgeAgent": {"properties.desired": {"modules": []}}}},
        {"content": 1, "modulesContent": {"$edgeAgent": 1}},
        {
            "modulesContent": {
                "$edgeAgent": {"properties.desired": {"modules": {f"m{n}": {} for n in range(MAX_MODULES + 1)}}}
            }
        },
    ],
)
def test_what_is_no_manifest_is_refused(manifest: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        manifest_modules(manifest)
    assert refusal.value.reason == "template.manifest"
