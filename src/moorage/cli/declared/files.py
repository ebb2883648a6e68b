"""Declarations in files: TOML by the suffix `.toml`, else YAML, of which JSON is a part.

    [device.pump-01]                     device:
    auth = "x509-ca"                       pump-01:
    tags = { site = "harbour" }              auth: x509-ca
                                             tags: {site: harbour}

The first level names the kind, the second the thing, below are its members. The modules of a device stand in its
`modules`. Every error names file, thing and member.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
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
# What a file may hold once the aliases of YAML, which may name each other, are written out.
_MAX_VALUES = 2_000_000
_MAX_DEPTH = 100


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
            # A device that was made since devices were listed comes with its modules alone.
            document.setdefault("device", {}).setdefault(device, {}).setdefault("modules", {})[module] = spec
        else:
            document.setdefault(kind, {})[name] = spec
    return document


def to_toml(document: Document) -> str:
    """TOML has no null; a member that is one is left out."""
    # In blocks of several lines the library writes CR LF as LF.
    as_blocks = not any(isinstance(value, str) and "\r" in value for value in _values(document))
    return tomli_w.dumps(_without_nulls(document), multiline_strings=as_blocks)


def to_yaml(document: Document) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _load(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as source:
            data = source.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Invalid("declared.file", f"{file} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise Invalid("declared.file", f"{file} has more than {_MAX_FILE_BYTES} bytes, which is all that is read")
    try:
        # Some editors begin a file with a byte order mark.
        text = data.decode("utf-8-sig")
        document = tomllib.loads(text) if file.suffix.lower() == ".toml" else yaml.load(text, Loader=_Loader)
        _check_values(document)
    except yaml.MarkedYAMLError as error:
        # The library's own text shows the line, which may hold a key.
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise Invalid("declared.file", f"{file} cannot be read: {error.problem}{where}") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
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


def _values(value: Any) -> Iterator[Any]:
    """`value` and all that is in it, names too, each alias as often as it stands there. Raises ValueError if deep."""
    waiting = [(value, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield value
        if depth == _MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels, or holds itself")
        if isinstance(value, dict):
            waiting += ((each, depth + 1) for pair in value.items() for each in pair)
        elif isinstance(value, list):
            waiting += ((each, depth + 1) for each in value)


def _check_values(document: Any) -> None:
    """Raises ValueError for what no JSON can hold, and for too much."""
    for count, value in enumerate(_values(document)):
        if count == _MAX_VALUES:
            raise ValueError(f"it holds more than {_MAX_VALUES} values, its aliases written out")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"it holds {value}, which is no number that JSON knows")
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
            raise ValueError("it holds half of a surrogate pair, which is no character")


class _Loader(yaml.SafeLoader):
    """Refuses what would be lost silently, a name that stands twice in a table, and says where a value is none."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a name has to be a text", name.start_mark)
            if name.value in seen:
                raise yaml.composer.ComposerError(None, None, f"{name.value!r} stands here twice", name.start_mark)
            seen.add(name.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError):
            # 30 February, five thousand digits, a tag such as !!bool before what is none: the library lets those out.
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"this is no {kind}", node.start_mark) from None


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks. Nothing is said by reference: files are read by people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # YAML has more ends of lines than LF, and reads some of them as LF again; between quotes they are escaped.
        style = None if data.isprintable() else "|" if data.replace("\n", "").isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
