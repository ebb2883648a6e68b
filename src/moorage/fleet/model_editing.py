"""Edits of a model as JSON: put a capability into an interface, or take it out, wherever that interface stands.

An interface may stand in a document more than once (two components of one kind), and means the same each time: an edit
of it is made at every place. What an edit does not speak of stays as it is, members that nobody here knows included.
Whether the result is still a model is for the parser to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moorage.dtdl.members import loose_types
from moorage.errors import Conflict, NotFound

__all__ = ["find_capability", "find_interface", "interfaces_in", "put_capability", "remove_capability"]

Document = Mapping[str, Any]


def interfaces_in(document: Document) -> Iterator[Document]:
    """The interface itself and all that stand inside of it, one for every place."""
    yield document
    for inner in _inside(document):
        yield from interfaces_in(inner)


def find_interface(document: Document, interface_id: str) -> Document:
    """Raises `NotFound` (`template.interface`)."""
    for each in interfaces_in(document):
        if each.get("@id") == interface_id:
            return each
    raise NotFound("template.interface", f"the model has no interface {interface_id[:140]!r}")


def find_capability(document: Document, interface_id: str, name: str) -> dict[str, Any]:
    """As the interface itself declares it. Raises `NotFound` (`template.interface`, `template.capability`)."""
    for each in _contents(find_interface(document, interface_id)):
        if each.get("name") == name:
            return dict(each)
    raise NotFound("template.capability", f"{interface_id} declares nothing named {name[:80]!r}")


def put_capability(document: Document, interface_id: str, name: str, capability: Document) -> dict[str, Any]:
    """`document` with `capability` in place of the one named `name`; '' adds it behind the others.

    Raises:
        NotFound: `template.interface`, `template.capability`.
        Conflict: `template.taken`, another one of the interface has the new name.
    """
    if name:
        find_capability(document, interface_id, name)
    new_name = capability.get("name")
    names = [each.get("name") for each in _contents(find_interface(document, interface_id))]
    if new_name != name and new_name in names:
        raise Conflict("template.taken", f"{interface_id} has a capability named {str(new_name)[:80]!r} already")

    def change(contents: list[Document]) -> list[Document]:
        if not name:
            return [*contents, capability]
        return [capability if each.get("name") == name else each for each in contents]

    return _changed(document, interface_id, change)


def remove_capability(document: Document, interface_id: str, name: str) -> dict[str, Any]:
    """Raises `NotFound` (`template.interface`, `template.capability`)."""
    find_capability(document, interface_id, name)
    return _changed(document, interface_id, lambda contents: [each for each in contents if each.get("name") != name])


def _changed(
    document: Document, interface_id: str, change: Callable[[list[Document]], list[Document]]
) -> dict[str, Any]:
    copy = dict(document)
    contents = _contents(document)
    if document.get("@id") == interface_id:
        contents = change(contents)
    if contents or "contents" in document:
        copy["contents"] = [_changed_inside(each, interface_id, change) for each in contents]
    if document.get("extends") is not None:
        copy["extends"] = _changed_each(document["extends"], interface_id, change)
    return copy


def _changed_inside(
    capability: Document, interface_id: str, change: Callable[[list[Document]], list[Document]]
) -> Document:
    """With the interface that a component is, or those that a relationship leads to."""
    types = loose_types(capability)
    if "Component" in types and isinstance(capability.get("schema"), Mapping):
        return {**capability, "schema": _changed(capability["schema"], interface_id, change)}
    if "Relationship" in types and capability.get("target") is not None:
        return {**capability, "target": _changed_each(capability["target"], interface_id, change)}
    return capability


def _changed_each(value: Any, interface_id: str, change: Callable[[list[Document]], list[Document]]) -> Any:
    if isinstance(value, list):
        return [_changed_each(each, interface_id, change) for each in value]
    return _changed(value, interface_id, change) if isinstance(value, Mapping) else value


def _inside(document: Document) -> Iterator[Document]:
    extends = document.get("extends")
    for each in extends if isinstance(extends, list) else [extends]:
        if isinstance(each, Mapping):
            yield each
    for each in _contents(document):
        types = loose_types(each)
        inside = each.get("schema") if "Component" in types else each.get("target") if "Relationship" in types else None
        yield from (inner for inner in (inside if isinstance(inside, list) else [inside]) if isinstance(inner, Mapping))


def _contents(document: Document) -> list[Document]:
    contents = document.get("contents")
    listed = contents if isinstance(contents, list) else [contents]
    return [each for each in listed if isinstance(each, Mapping)]
