"""Device templates as the resource `deviceTemplates` of IoT Central's REST API, and as files (central.md 22.2).

    {"@id": "dtmi:...;1", "@type": ["ModelDefinition", "DeviceModel"], "displayName": ..., "capabilityModel": {...}}

The same wrapping comes out of an export and is taken by an import, which takes a bare interface and an array of them
too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.dialects.members import check_same, get_text
from moorage.dialects.times import format_time
from moorage.dtdl.problems import InvalidModel, shown
from moorage.errors import Invalid
from moorage.fleet.template_model import Content, ModelSource, Template, TemplateSummary, make_content
from moorage.fleet.template_steps import Imported, read_model

__all__ = [
    "DRAFT_MEMBERS",
    "TEMPLATE_MEMBERS",
    "TEMPLATE_TYPES",
    "TemplateFile",
    "draft_json",
    "export_text",
    "file_name",
    "parse_draft",
    "parse_template",
    "read_file",
    "summary_json",
    "template_json",
]

TEMPLATE_TYPES: Final = ("ModelDefinition", "DeviceModel")
DRAFT_MEMBERS: Final = ("@id", "@type", "displayName", "description", "capabilityModel", "published", "draft", "etag")
TEMPLATE_MEMBERS: Final = ("@id", "@type", "@context", "displayName", "description", "capabilityModel", "etag")


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """What an import found. `template_id` is '' for a model without the wrapping of a template."""

    template_id: str
    display_name: str
    description: str
    model: Imported


def template_json(template: Template) -> dict[str, Any]:
    """What is published, or the draft of what is not."""
    return _resource(template, template.content)


def draft_json(template: Template) -> dict[str, Any]:
    """What is being edited, else what is published, and which of them it is (DT-10)."""
    states = {"published": template.is_published, "draft": template.draft is not None}
    return _resource(template, template.latest) | states


def summary_json(summary: TemplateSummary) -> dict[str, Any]:
    return {
        "@id": summary.template_id,
        "displayName": summary.display_name,
        "modelId": summary.model_id,
        "published": summary.is_published,
        "draft": summary.has_draft,
        "updated": format_time(summary.updated),
    }


def _resource(template: Template, content: Content) -> dict[str, Any]:
    resource: dict[str, Any] = {
        "@id": template.template_id,
        "@type": list(TEMPLATE_TYPES),
        "displayName": content.display_name,
        "capabilityModel": content.document,
        "etag": template.etag,
    }
    if content.description:
        resource["description"] = content.description
    return resource


def parse_template(body: Mapping[str, Any], template_id: str, models: ModelSource) -> Content:
    """The body of PUT, and of PATCH once it is merged.

    Raises `Invalid` (`body.id`, `body.member`, `template.*`).
    """
    check_same(body, "@id", template_id)
    _check_type(body)
    return _content(_unwrapped(body, models))


def parse_draft(body: Mapping[str, Any], template_id: str, models: ModelSource) -> Content:
    """What `draft_json` writes. Raises `Invalid` (`body.id`, `body.member`, `template.*`)."""
    check_same(body, "@id", template_id)
    return _content(_unwrapped(body, models))


def read_file(document: Any, models: ModelSource) -> TemplateFile:
    """An exported template, an interface, or an array of interfaces. Raises `Invalid` (`template.*`)."""
    if isinstance(document, Mapping) and "capabilityModel" in document:
        return _unwrapped(document, models)
    model = read_model(document, models)
    return TemplateFile("", model.interface.label, model.interface.description, model)


def export_text(template: Template) -> str:
    """A file that `read_file` takes again: the latest content, for people to read."""
    content = template.latest
    wrapped = template_json(template) | {"displayName": content.display_name, "capabilityModel": content.document}
    wrapped.pop("etag")
    return json.dumps(wrapped, indent=2, ensure_ascii=False) + "\n"


def file_name(template: Template) -> str:
    """`TemperatureController-2.json`, of the letters and digits of the model's id."""
    path, _, version = template.model_id.rpartition(";")
    return f"{path.rpartition(':')[2]}-{version}.json"


def _content(found: TemplateFile) -> Content:
    return make_content(found.display_name or found.model.interface.label, found.description, found.model.document)


def _unwrapped(body: Mapping[str, Any], models: ModelSource) -> TemplateFile:
    capability_model = body.get("capabilityModel")
    if not isinstance(capability_model, Mapping):
        raise Invalid("body.member", "capabilityModel is missing, or no object: it is the interface of the device")
    try:
        model = read_model(capability_model, models)
    except InvalidModel as error:
        place = f"$.capabilityModel{error.path.removeprefix('$')}"
        raise InvalidModel(error.reason, place, error.message.removeprefix(f"{error.path}: "), fix=error.fix) from None
    identifier = body.get("@id")
    return TemplateFile(
        identifier if isinstance(identifier, str) else "",
        get_text(body, "displayName") or model.interface.label,
        get_text(body, "description") or "",
        model,
    )


def _check_type(body: Mapping[str, Any]) -> None:
    types = body.get("@type")
    listed = types if isinstance(types, list) else [types]
    if any(name not in listed for name in TEMPLATE_TYPES):
        raise Invalid("body.member", f"@type is {shown(types)}, it has to be {json.dumps(TEMPLATE_TYPES)}")
