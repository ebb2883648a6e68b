"""What a document holds, before anything in it is judged: which interface is meant, and where the others are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from moorage.dtdl.members import loose_types
from moorage.dtdl.problems import InvalidModel, shown

__all__ = ["MAX_INTERFACES", "Find", "Library", "find_root", "inline_references"]

# Where an interface that is only named may be found: its document, or None.
Find = Callable[[str], Any]

# Of one document, of what it pulls in, and of what it becomes when everything stands in its place.
MAX_INTERFACES: Final = 200


class Library:
    """Interfaces by their name: those of the document itself, inlined or side by side, then what `find` has."""

    def __init__(self, document: Any, find: Find) -> None:
        self._find = find
        self._beside: dict[str, Mapping[str, Any]] = {}
        self._fetched: dict[str, Mapping[str, Any]] = {}
        pending: list[Any] = list(document) if isinstance(document, list) else [document]
        while pending:
            each = pending.pop()
            if isinstance(each, Mapping):
                if isinstance(each.get("@id"), str):
                    self._beside.setdefault(each["@id"], each)
                pending.extend(_needed(each))

    def resolve(self, name: str) -> Mapping[str, Any] | None:
        """The document of an interface, and always the same object for one name."""
        if (known := self._beside.get(name) or self._fetched.get(name)) is not None:
            return known
        if len(self._fetched) >= MAX_INTERFACES:
            return None
        document = self._find(name)
        for each in document if isinstance(document, list) else [document]:
            if isinstance(each, Mapping) and each.get("@id") == name:
                self._fetched[name] = each
                return each
        return None


def find_root(document: Any, root: str = "") -> tuple[Mapping[str, Any], str]:
    """The interface meant, and its path. Raises `InvalidModel`."""
    if isinstance(document, Mapping):
        if root and document.get("@id") != root:
            raise InvalidModel(
                "template.reference", "$", f"this is {shown(document.get('@id'))}, wanted is {shown(root)}"
            )
        return document, "$"
    if not isinstance(document, list) or not document:
        raise InvalidModel("template.shape", "$", "a model is an interface (an object), or an array of interfaces")
    if len(document) > MAX_INTERFACES:
        raise InvalidModel("template.limit", "$", f"{len(document)} interfaces, the most is {MAX_INTERFACES}")
    needed: set[str] = set()
    for index, each in enumerate(document):
        if not isinstance(each, Mapping):
            raise InvalidModel("template.shape", f"$[{index}]", f"this is {shown(each)}, an interface is an object")
        needed.update(name for name in _all_needed(each) if name != each.get("@id"))
    for index, each in enumerate(document):
        # What is no text names nothing: the parser says so, with its place.
        name = each.get("@id")
        if name == root or (not root and not (isinstance(name, str) and name in needed)):
            return each, f"$[{index}]"
    if root:
        raise InvalidModel("template.reference", "$", f"no interface here is {shown(root)}")
    raise InvalidModel("template.cycle", "$", "each of these interfaces is part of another, so none is the model")


def inline_references(document: Any, find: Find = lambda _: None, *, root: str = "") -> dict[str, Any]:
    """The interface meant, with everything that it names put in its place. It has to have been parsed before.

    Raises `InvalidModel` (`template.limit`).
    """
    found, _ = find_root(document, root)
    return _Inlining(Library(document, find)).copy(found)


class _Inlining:
    def __init__(self, library: Library) -> None:
        self._library = library
        self._count = 0

    def copy(self, interface: Mapping[str, Any]) -> dict[str, Any]:
        # Interfaces that many others extend are copied for each: the parser bounds the depth of it, this the number.
        self._count += 1
        if self._count > MAX_INTERFACES:
            raise InvalidModel(
                "template.limit", "$", f"with all that it names, it has more than {MAX_INTERFACES} interfaces"
            )
        made = dict(interface)
        extends = made.get("extends")
        if extends is not None:
            made["extends"] = [self._put(each) for each in extends] if isinstance(extends, list) else self._put(extends)
        contents = made.get("contents")
        if contents is not None:
            made["contents"] = [
                {**each, "schema": self._put(each.get("schema"))} if "Component" in loose_types(each) else each
                for each in ([contents] if isinstance(contents, Mapping) else contents)
            ]
        return made

    def _put(self, value: Any) -> Any:
        found = self._library.resolve(value) if isinstance(value, str) else value
        return self.copy(found) if isinstance(found, Mapping) else value


def _needed(interface: Mapping[str, Any]) -> Iterator[Any]:
    """What it extends and what its components are: names, documents, or anything that somebody wrote there."""
    extends = interface.get("extends")
    yield from extends if isinstance(extends, list) else [extends]
    contents = interface.get("contents")
    for each in contents if isinstance(contents, list) else [contents]:
        if isinstance(each, Mapping) and "Component" in loose_types(each):
            yield each.get("schema")


def _all_needed(interface: Mapping[str, Any]) -> Iterator[str]:
    """The names of all that it needs, at any depth of the document."""
    pending = list(_needed(interface))
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            if isinstance(each.get("@id"), str):
                yield each["@id"]
            pending.extend(_needed(each))
