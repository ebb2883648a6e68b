"""Modules of an IoT Edge template, out of a deployment manifest (central.md DT-7, MAN-6).

Each module becomes a relationship of the root, of the type `EdgeModule`, whose target is the interface of the module;
what the manifest sets of its desired properties becomes writable properties. A module that the model has already keeps
what people made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from moorage.dtdl.members import MAX_NAME_CHARS, is_name
from moorage.errors import Invalid
from moorage.fleet.guessing import guess, model_of

__all__ = ["EDGE_MODULE", "manifest_modules", "with_modules"]

EDGE_MODULE: Final = "EdgeModule"
MAX_MODULES: Final = 50
_DESIRED: Final = "properties.desired"
_NOT_OF_A_NAME: Final = re.compile(r"[^A-Za-z0-9]+")


def manifest_modules(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The custom modules by name, each with the desired properties that it is given.

    Takes the file of `az iot edge set-modules` (`modulesContent`, or `content` around it).
    Raises `Invalid` (`template.manifest`).
    """
    content = manifest.get("content")
    content = content.get("modulesContent") if isinstance(content, Mapping) else manifest.get("modulesContent")
    agent = _inside(content, "$edgeAgent", _DESIRED)
    modules = _inside(agent, "modules")
    if modules is None:
        raise Invalid(
            "template.manifest", f"this is no deployment manifest: it names no modules in $edgeAgent's {_DESIRED}"
        )
    if len(modules) > MAX_MODULES:
        raise Invalid("template.manifest", f"the manifest has {len(modules)} modules, the most is {MAX_MODULES}")
    return {name: _inside(content, name, _DESIRED) or {} for name in modules}


def with_modules(document: Mapping[str, Any], modules: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The model with a relationship for each module that it has none for."""
    contents = document.get("contents")
    listed = list(contents) if isinstance(contents, list) else [contents] if contents else []
    taken = {each.get("name") for each in listed}
    known = {label for each in listed for label in _labels(each)}
    for module_id, desired in modules.items():
        if module_id in known:
            continue
        name = _free_name(module_id, taken)
        taken.add(name)
        listed.append(_relationship(str(document.get("@id")), module_id, name, desired))
    return {**document, "contents": listed}


def _relationship(root: str, module_id: str, name: str, desired: Mapping[str, Any]) -> dict[str, Any]:
    path, _, version = root.rpartition(";")
    guesses = guess((), {}, {key: value for key, value in desired.items() if not key.startswith("$")})
    found = [(each.kind, each.name, "", each.schema) for each in guesses.found]
    interface = model_of(f"{path}:{name};{version}", module_id, found)
    interface.pop("@context")
    return {
        "@type": ["Relationship", EDGE_MODULE],
        "name": name,
        "displayName": module_id,
        "maxMultiplicity": 1,
        "target": [interface],
    }


def _labels(capability: Mapping[str, Any]) -> Iterator[str]:
    for member in ("name", "displayName"):
        value = capability.get(member)
        if isinstance(value, str):
            yield value


def _free_name(module_id: str, taken: set[Any]) -> str:
    """A name that DTDL allows: `line-filter` becomes `lineFilter`."""
    first, *rest = [part for part in _NOT_OF_A_NAME.split(module_id) if part] or ["module"]
    name = (first + "".join(part[:1].upper() + part[1:] for part in rest))[: MAX_NAME_CHARS - 4]
    if not is_name(name):
        name = f"module{name}"[: MAX_NAME_CHARS - 4]
    free, number = name, 2
    while free in taken:
        free, number = f"{name}{number}", number + 1
    return free


def _inside(value: Any, *names: str) -> Mapping[str, Any] | None:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else None
