"""Templates as IoT Central's REST API and its exports have them (central.md 22.2, DTDL-10)."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moorage.adapters.model_folder import ModelFolders
from moorage.dialects.template_json import export_text, file_name, parse_template, read_file, template_json
from moorage.dtdl.problems import InvalidModel
from moorage.errors import Invalid
from moorage.fleet.model import TemplateId
from moorage.fleet.template_model import Template
from moorage.ids import DEFAULT_HUB
from tests.unit.dtdl.models import component, interface, telemetry

MODELS = ModelFolders(())
ID = "dtmi:contoso:pumpTemplate;1"
AT = datetime(2026, 5, 4, tzinfo=UTC)


def body(**members: Any) -> dict[str, Any]:
    model = {"@id": "dtmi:contoso:pump;1", "@type": "Interface", "contents": [telemetry()]}
    return {"@type": ["ModelDefinition", "DeviceModel"], "displayName": "Pump", "capabilityModel": model, **members}


def template(**members: Any) -> Template:
    return Template(DEFAULT_HUB, TemplateId(ID), parse_template(body(**members), ID, MODELS), None, AT, AT)


def test_a_body_comes_back_as_the_resource() -> None:
    made = template(description="Moves water")
    assert template_json(made) == {**body(), "@id": ID, "description": "Moves water", "etag": made.etag}


def test_interfaces_that_a_body_only_names_are_put_in_their_place() -> None:
    model = {**interface(component("inlet", "dtmi:com:example:Thermostat;1"))}
    made = template(capabilityModel=model)
    assert made.interface.find_telemetry("temperature", "inlet")
    inlet = template_json(made)["capabilityModel"]["contents"][0]
    assert inlet["schema"]["@id"] == "dtmi:com:example:Thermostat;1"


@pytest.mark.parametrize(
    ("members", "reason", "words"),
    [
        ({"@id": "dtmi:another;1"}, "body.id", "the path says"),
        ({"@type": "DeviceModel"}, "body.member", "ModelDefinition"),
        ({"@type": None}, "body.member", "@type is null"),
        ({"capabilityModel": None}, "body.member", "capabilityModel is missing"),
        ({"displayName": 7}, "body.member", "displayName"),
        ({"capabilityModel": interface(telemetry("_x"))}, "template.name", "$.capabilityModel.contents[0].name: "),
    ],
)
def test_a_body_that_is_no_template_is_refused(members: Any, reason: str, words: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_template(body(**members), ID, MODELS)
    assert refusal.value.reason == reason and words in refusal.value.message


def test_what_was_exported_can_be_imported() -> None:
    made = template()
    found = read_file(json.loads(export_text(made)), MODELS)
    assert (found.template_id, found.display_name) == (ID, "Pump")
    assert found.model.interface == made.interface
    assert file_name(made) == "pump-1.json"


def test_a_bare_interface_and_an_array_are_models_without_a_template() -> None:
    part = interface(telemetry(), name="Part")
    found = read_file([interface(component("part", "dtmi:com:example:Part;1"), displayName="Whole"), part], MODELS)
    assert (found.template_id, found.display_name) == ("", "Whole")
    assert found.model.fetched == ()
    assert read_file(part, MODELS).display_name == "Part"
    with pytest.raises(InvalidModel):
        read_file({"contents": []}, MODELS)


def test_the_models_that_come_along_can_be_read_each(tmp_path: Path) -> None:
    for name in ModelFolders([tmp_path]).all():
        assert read_file(MODELS.find(name), MODELS).model.interface.id == name
