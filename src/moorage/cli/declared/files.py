"""Declarations in files: TOML by the suffix `.toml`, else YAML, of which JSON is a part.

    [device.pump-01]                     device:
    auth = "x509-ca"                       pump-01:
    tags = { site = "harbour" }              auth: x509-ca
                                             tags: {site: harbour}

The first level names the kind, the second the thing, below are its members. The modules of a device stand in its
`modules`. Every error names file, thing and member.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
import yaml

from moorage.cli.declared.model import Declared, Kind, Spec
from moorage.errors import Invalid

__all__ = ["Document", "nest", "read_declarations", "to_toml", "to_yaml"]

# kind -> name -> members
Document = dict[str, dict[str, Any]]

_MAX_FILE_BYTES = 16 * 1024 * 1024


def read_declarations(files: Iterable[Path], kinds: Mapping[str, Kind]) -> list[Declared]:
    """Everything that `files` declare, in the order of `kinds`, then of the files.

    Raises `Invalid`: `declared.file`, `declared.kind`, `declared.member`, `declared.twice`.
    """
    found: dict[tuple[str, str], Declared] = {}
    for file in files:
        for declared in _flatten(file, _load(file), kinds):
            earlier = found.setdefault((declared.kind, declared.name), declared)
            if earlier is not declared:
                raise Invalid("declared.twice", f"{declared.place} was declared before, in {earlier.place}")
    order = list(kinds)
    return sorted(found.values(), key=lambda declared: order.index(declared.kind))


def nest(things: Iterable[tuple[str, str, Spec]]) -> Document:
    """(kind, name, spec) as a document, modules in their devices."""
    document: Document = {}
    for kind, name, spec in things:
        if kind == "module":
            device, _, module = name.partition("/")
            document["device"][device].setdefault("modules", {})[module] = spec
        else:
            document.setdefault(kind, {})[name] = spec
    return document


def to_toml(document: Document) -> str:
    """TOML has no null; a member that is one is left out."""
    return tomli_w.dumps(_without_nulls(document), multiline_strings=True)


def to_yaml(document: Document) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _load(file: Path) -> dict[str, Any]:
    try:
        data = file.read_bytes()
        if len(data) > _MAX_FILE_BYTES:
            raise Invalid("declared.file", f"{file} has {len(data)} bytes, at most {_MAX_FILE_BYTES} are read")
        text = data.decode()
        document = tomllib.loads(text) if file.suffix == ".toml" else yaml.load(text, Loader=_Loader)
    except OSError as error:
        raise Invalid("declared.file", f"{file} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError, RecursionError) as error:
        raise Invalid("declared.file", f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Invalid("declared.file", f"{file} has to be a table of kinds, it is a {type(document).__name__}")
    return document


def _flatten(file: Path, document: dict[str, Any], kinds: Mapping[str, Kind]) -> Iterable[Declared]:
    for kind, things in document.items():
        if kind not in kinds or kind == "module":
            known = ", ".join(name for name in kinds if name != "module")
            raise Invalid("declared.kind", f"{file}: {kind!r} is nothing that can be declared; there are {known}")
        for name, members in _table(things, f"{file}: {kind}").items():
            place = f"{file}: {kind}.{name}"
            members = dict(_table(members, place))
            modules = members.pop("modules", None) if kind == "device" else None
            yield _declared(kind, name, members, file, place, kinds)
            for module, own in _table(modules, f"{place}.modules").items():
                inner = f"{place}.modules.{module}"
                yield _declared("module", f"{name}/{module}", _table(own, inner), file, inner, kinds)


def _declared(
    kind: str, name: str, members: Mapping[str, Any], file: Path, place: str, kinds: Mapping[str, Kind]
) -> Declared:
    known = kinds[kind].members
    spec: Spec = {}
    for member, value in members.items():
        if member not in known:
            raise Invalid("declared.member", f"{place}: there is no member {member!r}; a {kind} has {', '.join(known)}")
        try:
            spec[member] = known[member].read(value, file.parent)
        except ValueError as problem:
            raise Invalid("declared.member", f"{place}.{member} {problem}") from None
    declared = Declared(kind, name, spec, place)
    return Declared(kind, name, kinds[kind].settle(declared), place)


def _table(value: Any, place: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid("declared.member", f"{place} has to be a table of members, it is a {type(value).__name__}")
    for name in value:
        if not isinstance(name, str):
            raise Invalid("declared.member", f"{place}: the name {name!r} is a {type(name).__name__}; quote it")
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return value


class _Loader(yaml.SafeLoader):
    """Refuses what would be lost silently: a name that stands twice in a table."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            name = self.construct_object(key_node, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands here twice", key_node.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
