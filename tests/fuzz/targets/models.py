"""Device models and templates: what people paste, what files hold, what the Central API is sent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from moorage.dialects.capability_forms import capability_fields, capability_json, kind_of
from moorage.dialects.json_text import parse_json
from moorage.dialects.template_json import parse_template, read_file
from moorage.dtdl.documents import inline_references
from moorage.dtdl.model import Interface
from moorage.dtdl.parser import parse_interface
from moorage.dtdl.problems import InvalidModel, line_of
from moorage.errors import Invalid, Refusal
from moorage.fleet.guessing import guess, model_of
from moorage.fleet.model_editing import interfaces_in, put_capability, remove_capability
from moorage.fleet.template_changes import compare
from moorage.fleet.template_model import make_content
from moorage.fleet.views import check_views, generated_views
from tests.fuzz.targets.model import Target

__all__ = ["TARGETS"]

_SHIPPED: Final = Path(__file__).parents[3] / "src" / "moorage" / "fleet" / "models"
_ID: Final = "dtmi:contoso:template;1"


class _NoModels:
    def find(self, model_id: str) -> Any:
        return None

    def all(self) -> list[str]:
        return []


_MODELS: Final = _NoModels()


def _check_models(data: bytes) -> None:
    try:
        value = parse_json(data, what="the model")
    except Invalid:
        return
    try:
        interface = parse_interface(value)
    except InvalidModel as refusal:
        assert refusal.reason.startswith("template.") and refusal.path.startswith("$"), refusal
        text = data.decode("utf-8-sig")
        assert 1 <= line_of(text, refusal.path) <= text.count("\n") + 1
    else:
        _check_interface(interface, value)
    try:
        read_file(value, _MODELS)
        if isinstance(value, dict):
            parse_template(value, _ID, _MODELS)
    except Refusal as refusal:
        assert refusal.reason.partition(".")[0] in ("template", "body"), refusal


def _check_interface(interface: Interface, value: Any) -> None:
    alone = inline_references(value)
    assert parse_interface(alone) == interface
    assert compare(interface, interface) == []
    content = make_content("a name", "", alone)
    for view in generated_views(interface):
        for tile in view.tiles:
            for subject in tile.subjects:
                part = interface.part(subject.component)
                assert part is not None and subject.name in part.by_name
    check_views((), interface)
    for inner in interfaces_in(content.document):
        contents = inner.get("contents")
        for capability in contents if isinstance(contents, list) else []:
            _check_edits(content.document, str(inner["@id"]), capability)
    for each in (*interface.telemetry, *interface.properties):
        for typed in ("", "1", "{}", "[1]", '"a"', "true"):
            try:
                fitting = each.schema.parse_text(typed)
            except Invalid:
                continue
            assert each.schema.check(fitting) is None


def _check_edits(document: Any, interface_id: str, capability: Any) -> None:
    fields = capability_fields(capability)
    try:
        capability_json(kind_of(capability), fields, capability)
    except Invalid as refusal:
        assert refusal.reason.startswith("form.")
    put_capability(document, interface_id, capability["name"], capability)
    remove_capability(document, interface_id, capability["name"])


def _check_guesses(data: bytes) -> None:
    try:
        value = parse_json(data, what="the body")
    except Invalid:
        return
    if isinstance(value, dict):
        guesses = guess([value], {}, value)
        found = [(each.kind, each.name, "", each.schema) for each in guesses.found]
        parse_interface(model_of("dtmi:a:b;1", "B", found))


def _model_seeds() -> Iterable[bytes]:
    shipped = [json.loads(path.read_text()) for path in sorted(_SHIPPED.rglob("*.json"))]
    yield json.dumps(shipped).encode()
    for document in shipped:
        yield json.dumps(document).encode()
    contents: list[Any] = [
        {"@type": ["Telemetry", "Event"], "name": "alarm", "schema": "string", "severity": "error"},
        {
            "@type": ["Property", "Cloud", "Initialized"],
            "name": "mode",
            "schema": {"@type": "Enum", "valueSchema": "integer", "enumValues": [{"name": "a", "enumValue": 1}]},
            "initialValue": "1",
        },
        {
            "@type": "Telemetry",
            "name": "map",
            "schema": {
                "@type": "Map",
                "mapKey": {"name": "k", "schema": "string"},
                "mapValue": {"name": "v", "schema": {"@type": "Array", "elementSchema": "geopoint"}},
            },
        },
        {"@type": "Command", "name": "run", "durable": True, "request": {"name": "how", "schema": "duration"}},
        {"@type": "Relationship", "name": "module", "target": [{"@id": "dtmi:a:m;1", "@type": "Interface"}]},
    ]
    base = {"@id": "dtmi:a:base;1", "@type": "Interface", "displayName": {"en": "Base", "de": "Grund"}}
    model = {"@id": "dtmi:a:b;1", "@type": "Interface", "extends": [base], "contents": contents}
    yield json.dumps(model).encode()
    yield json.dumps(
        {"@id": _ID, "@type": ["ModelDefinition", "DeviceModel"], "displayName": "A", "capabilityModel": model}
    ).encode()


def _guess_seeds() -> Iterable[bytes]:
    yield b'{"t": 1, "place": {"lat": 1, "lon": 2}, "list": [1, null], "o": {"a": {"b": "2026-01-01"}}, "x-y": null}'


_WORDS: Final = (
    *(b'"@type":', b'"@id":', b'"schema":', b'"extends":', b'"contents":', b'"Component"', b'"Interface"'),
    *(b'"dtmi:a:b;1"', b'"schemas":', b'"Enum"', b'"Object"', b'"fields":', b"null", b"[[", b'{"', b"1e308"),
)

TARGETS: Final = (
    Target("device_models", _check_models, _model_seeds, _WORDS, 4096, is_json=True),
    Target("guessed_models", _check_guesses, _guess_seeds, (b'{"', b"[[", b"null", b'"__t":"c"'), 2048, is_json=True),
)
