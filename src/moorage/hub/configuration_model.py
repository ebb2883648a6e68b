"""Automatic configurations as values: what one is, what its content may hold, and where they are kept.

A configuration is one of three kinds, by its content (contract/services.md 2.10):

    device   `deviceContent`   sections of the desired properties of devices
    module   `moduleContent`   the same for modules; its condition begins `FROM devices.modules WHERE`
    edge     `modulesContent`  a deployment: what the modules of an edge device are, and their desired properties.
                               A base has `$edgeAgent` with whole `properties.desired`; without it, it is a layer

The content is kept exactly as it was sent, members that we do not know included, and never changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Literal, NewType, Protocol

from moorage.errors import Invalid, TooLarge
from moorage.hub.merging import Layer, Path
from moorage.hub.model import HubTables
from moorage.hub.twins import MAX_DESIRED_BYTES, check_section, size_of
from moorage.identities.registry import MAX_MODULES
from moorage.ids import HubId, IdentityName, ModuleId, parse_module_id
from moorage.query.fields import is_field
from moorage.query.parser import Condition, parse_condition
from moorage.query.syntax import Path as QueryPath
from moorage.query.syntax import walk

__all__ = [
    "EDGE_AGENT",
    "MAX_CONFIGURATIONS",
    "MAX_CONTENT_BYTES",
    "MAX_METRICS",
    "Applied",
    "Configuration",
    "ConfigurationId",
    "ConfigurationTable",
    "ConfigurationTables",
    "Kind",
    "Phase",
    "Status",
    "Work",
    "check_content",
    "check_settings",
    "hears_reports",
    "parse_configuration_id",
    "read_condition",
    "read_content",
    "read_modules",
]

ConfigurationId = NewType("ConfigurationId", str)
Kind = Literal["device", "module", "edge"]
Status = Literal["Targeted", "Applied"]
Phase = Literal["leaving", "joining"]

# contract/services.md 2.10
MAX_CONFIGURATIONS: Final = 100
MAX_METRICS: Final = 5
MAX_CONTENT_BYTES: Final = 256 * 1024
EDGE_AGENT: Final = ModuleId("$edgeAgent")
_MAX_CONDITION = 4096
_MAX_PRIORITY = 2**31 - 1
_MAX_LABELS = 50
_MAX_LABEL_TEXT = 512
_MAX_METRIC_NAME = 128
_ROOT = "properties.desired"
_EDGE = "capabilities.iotEdge = true"
# What a target condition can go by: whoever changes one of these in an identity or its twin marks it (`marked`).
_FOLLOWED: Final = frozenset(
    ("deviceId", "moduleId", "tags", "properties", "status", "authenticationType", "modelId", "capabilities")
)

# Printable ASCII without capitals, spaces and the characters that the documents rule out.
_ID = re.compile(r"[a-z0-9!#$%'()*+,\-.:;=?@_`~]{1,128}")
_BEGINS_FROM = re.compile(r"\s*from\b", re.IGNORECASE)
_FROM = re.compile(
    r"\s*from\s+devices(?P<modules>\s*\.\s*modules)?(?:\s+where\b(?P<where>.*))?", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class Configuration:
    """`version` is the etag's number. `metrics` maps names to the texts of queries."""

    hub: HubId
    id: ConfigurationId
    version: int
    schema_version: str
    content: Mapping[str, Any]
    target_condition: str
    priority: int
    labels: Mapping[str, str]
    metrics: Mapping[str, str]
    created: datetime
    updated: datetime

    @cached_property
    def kind(self) -> Kind:
        return read_content(self.content)[0]

    @property
    def rank(self) -> tuple[int, datetime, str]:
        """Higher wins: by priority, then the newer one; ids settle what was made in the same instant."""
        return self.priority, self.created, self.id

    @cached_property
    def is_base(self) -> bool:
        """Of an edge deployment: whether it says what the whole device runs."""
        return self.kind == "edge" and _ROOT in self.content["modulesContent"].get(EDGE_AGENT, {})

    @cached_property
    def layer(self) -> Layer:
        """What it sets; of an edge deployment with the module's id before each path."""
        kind, members = read_content(self.content)
        if kind == "edge":
            return Layer(self.id, dict(read_modules(members)))
        return Layer(self.id, dict(_expanded(members)))

    @cached_property
    def target(self) -> tuple[str, Condition]:
        """The text behind WHERE, and what it says."""
        return read_condition(self.target_condition, self.kind)

    @property
    def selection(self) -> str | None:
        """What a query for those that it targets says behind WHERE; `*` for all, None for nobody."""
        text, condition = self.target
        if condition.is_empty:
            return None
        if self.kind == "edge":
            return _EDGE if condition.where is None else _of_edge_devices(text)
        return "*" if condition.where is None else text


@dataclass(frozen=True, slots=True)
class Applied:
    """What an identity has of one configuration: `holds` are the sections it set, to be taken out again.

    With `is_deployed`, an edge deployment on the device put it here: on the device, `holds` are its modules' ids.
    """

    status: Status
    holds: tuple[Path, ...] = ()
    is_deployed: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A configuration that was made, changed or deleted, and how far what follows from it has come.

    First those that have it are looked at (`leaving`), then those that its condition selects (`joining`). `sequence` is
    another one for each change.
    """

    hub: HubId
    configuration: ConfigurationId
    sequence: int
    phase: Phase
    after: IdentityName | None = None


class ConfigurationTable(Protocol):
    """Configurations, what identities have of them, and what is still to be looked at."""

    def find(self, hub: HubId, configuration: ConfigurationId) -> Configuration | None: ...

    def all(self, hub: HubId) -> list[Configuration]:
        """In order of their ids."""

    def versions(self, hub: HubId) -> list[tuple[ConfigurationId, int, datetime]]:
        """(id, version, when it was made) of each, in order of their ids."""

    def count(self, hub: HubId) -> int: ...

    def put(self, configuration: Configuration) -> None: ...

    def delete(self, hub: HubId, configuration: ConfigurationId) -> None: ...

    def revision(self, hub: HubId) -> int:
        """Another number after each `put` and `delete`."""

    def statuses(self, hub: HubId, name: IdentityName) -> dict[str, Status]: ...

    def applied(self, hub: HubId, name: IdentityName) -> dict[ConfigurationId, Applied]: ...

    def put_applied(self, hub: HubId, name: IdentityName, configuration: ConfigurationId, applied: Applied) -> None: ...

    def delete_applied(self, hub: HubId, name: IdentityName, configuration: ConfigurationId) -> None: ...

    def holders(
        self, hub: HubId, configuration: ConfigurationId, after: IdentityName | None, limit: int
    ) -> list[IdentityName]:
        """Identities that have something of it, in order of their names."""

    def tally(self, hub: HubId) -> dict[ConfigurationId, tuple[int, int]]:
        """(targeted, applied) of each; what a deployment put on modules is counted once, on their device."""

    def marked(self, hub: HubId, limit: int) -> list[IdentityName]:
        """Identities that changed, or whose twin did, since they were last unmarked."""

    def unmark(self, hub: HubId, name: IdentityName) -> None: ...

    def begin_work(self, hub: HubId, configuration: ConfigurationId) -> None:
        """From the beginning, whatever was under way."""

    def next_work(self, hub: HubId) -> Work | None: ...

    def put_work(self, work: Work) -> None: ...

    def end_work(self, work: Work) -> None: ...


class ConfigurationTables(HubTables, Protocol):
    """What configurations need of a store."""

    @property
    def configurations(self) -> ConfigurationTable: ...


def parse_configuration_id(text: str) -> ConfigurationId:
    """Raises `Invalid` (`id.configuration`)."""
    if not _ID.fullmatch(text):
        raise Invalid(
            "id.configuration",
            f"{text[:140]!r} is not a configuration's id: it takes 1 to 128 lower-case letters, digits and signs other "
            'than & ^ [ ] { } | " < > / and the backslash',
        )
    return ConfigurationId(text)


def check_content(content: Mapping[str, Any]) -> Kind:
    """Check that every identity could hold what the content sets; returns its kind.

    Raises `Invalid` (`configuration.content`) and `TooLarge` (`twin.size`), naming the section.
    """
    kind, members = read_content(content)
    try:
        if kind == "edge":
            _check_modules(members)
        else:
            _check_sections(dict(_expanded(members)), kind)
    except Invalid as refusal:
        if refusal.reason == "configuration.content":
            raise
        raise Invalid("configuration.content", f"{refusal.message} ({refusal.reason})") from refusal
    return kind


def read_content(content: Mapping[str, Any]) -> tuple[Kind, Mapping[str, Any]]:
    """The kind and the one member that says it. Raises `Invalid` (`configuration.content`)."""
    kinds: dict[str, Kind] = {"deviceContent": "device", "moduleContent": "module", "modulesContent": "edge"}
    found = [member for member in kinds if content.get(member) is not None]
    if len(found) != 1:
        said = " and ".join(found) or "none of them"
        raise Invalid(
            "configuration.content", f"content has one of deviceContent, moduleContent and modulesContent; this: {said}"
        )
    members = content[found[0]]
    if not isinstance(members, Mapping):
        raise Invalid("configuration.content", f"{found[0]} is a {type(members).__name__}, it has to be an object")
    return kinds[found[0]], members


def read_modules(modules: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """(module id and path, value) for everything that `modulesContent` sets. Raises `Invalid`."""
    for module, sections in modules.items():
        parse_module_id(module)
        if not isinstance(sections, Mapping):
            raise Invalid("configuration.content", f"modulesContent of '{module}' has to be an object")
        for key, value in sections.items():
            path = _parse_path(key)
            if not path and not isinstance(value, Mapping):
                raise Invalid("configuration.content", f"{_ROOT} of '{module}' has to be an object")
            yield (module, *path), value


def read_condition(text: str, kind: Kind) -> tuple[str, Condition]:
    """What stands behind WHERE, and what that says.

    Raises `Invalid` (`configuration.condition`): no condition, a module's without its FROM, or one that goes by what is
    not followed; what configurations do themselves is not, since that might never come to rest.
    """
    if len(text) > _MAX_CONDITION:
        raise Invalid(
            "configuration.condition",
            f"the target condition has {len(text)} characters, at most {_MAX_CONDITION} are allowed",
        )
    match = _FROM.fullmatch(text)
    if kind == "module" and text.strip() and (match is None or not match["modules"]):
        raise Invalid("configuration.condition", "the condition of moduleContent begins FROM devices.modules WHERE")
    if match is None and _BEGINS_FROM.match(text):
        raise Invalid("configuration.condition", "the condition begins FROM devices WHERE, without another name for it")
    where = text.strip() if match is None else (match["where"] or "*").strip()
    try:
        condition = parse_condition(text, "devices.modules" if kind == "module" else "devices")
        if kind == "edge" and condition.where is not None:
            # As it will be asked: that may be too deep where the condition alone is not.
            parse_condition(_of_edge_devices(where), "devices")
    except Invalid as refusal:
        raise Invalid("configuration.condition", f"the target condition is none: {refusal.message}") from refusal
    for names in _members_in(condition):
        if names[:2] == ("properties", "desired") or (is_field("devices", names[0]) and names[0] not in _FOLLOWED):
            raise Invalid(
                "configuration.condition",
                f"a target condition goes by tags, reported properties and ids, not by {'.'.join(names)[:80]}",
            )
    return where, condition


def _of_edge_devices(where: str) -> str:
    return f"{_EDGE} AND ({where})"


def hears_reports(configuration: Configuration) -> bool:
    """Whether what a device reports may change who is targeted."""
    return any(names[:2] == ("properties", "reported") for names in _members_in(configuration.target[1]))


def _members_in(condition: Condition) -> Iterator[tuple[str, ...]]:
    if condition.where is not None:
        yield from (node.names for node in walk(condition.where) if isinstance(node, QueryPath))


def check_settings(priority: int, labels: Mapping[str, str], metrics: Mapping[str, str]) -> None:
    """The members that may change. Raises `Invalid` (`configuration.*`)."""
    if not 0 <= priority <= _MAX_PRIORITY:
        raise Invalid("configuration.priority", f"priority is {priority}, it goes from 0 to {_MAX_PRIORITY}")
    if len(labels) > _MAX_LABELS or any(len(text) > _MAX_LABEL_TEXT for pair in labels.items() for text in pair):
        raise Invalid(
            "configuration.labels", f"at most {_MAX_LABELS} labels are kept, of at most {_MAX_LABEL_TEXT} characters"
        )
    if len(metrics) > MAX_METRICS:
        raise Invalid("configuration.metrics", f"at most {MAX_METRICS} metrics are allowed, these are {len(metrics)}")
    for name, text in metrics.items():
        if not 0 < len(name) <= _MAX_METRIC_NAME or len(text) > _MAX_CONDITION:
            raise Invalid(
                "configuration.metrics",
                f"metric {name[:40]!r}: a name has 1 to {_MAX_METRIC_NAME} characters, a query at most "
                f"{_MAX_CONDITION}",
            )


def _parse_path(key: str) -> Path:
    if key == _ROOT:
        return ()
    rest = key.removeprefix(f"{_ROOT}.")
    path = tuple(rest.split("."))
    if rest == key or not all(path):
        raise Invalid(
            "configuration.content", f"{key[:160]!r} is not a section of desired properties: {_ROOT}, or {_ROOT}.NAME"
        )
    return path


def _expanded(members: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Sections of a device's desired properties; the whole of them stands for each of its members.

    What an operator set beside a configuration stays that way.
    """
    for key, value in members.items():
        path = _parse_path(key)
        if path:
            yield path, value
            continue
        if not isinstance(value, Mapping):
            raise Invalid("configuration.content", f"{_ROOT} has to be an object")
        for member, inner in value.items():
            yield (member,), inner


def _check_sections(settings: Mapping[Path, Any], what: str) -> None:
    size = 0
    for path, value in settings.items():
        nested = value
        for member in reversed(path):
            nested = {member: nested}
        check_section(nested, f"{_ROOT}")
        size += size_of(nested)
    if size > MAX_DESIRED_BYTES:
        raise TooLarge(
            "twin.size", f"{what} content would take {size} bytes of a twin, at most {MAX_DESIRED_BYTES} are allowed"
        )


def _check_modules(modules: Mapping[str, Any]) -> None:
    by_module: dict[str, dict[Path, Any]] = {module: {} for module in modules}
    for (module, *path), value in read_modules(modules):
        by_module[module][tuple(path)] = value
    if len(by_module) > MAX_MODULES:
        raise Invalid(
            "configuration.content", f"a device has at most {MAX_MODULES} modules, these are {len(by_module)}"
        )
    for module, settings in by_module.items():
        _check_sections(settings, f"'{module}'")
    for (module, *path), value in read_modules(modules):
        if module == EDGE_AGENT:
            for name in _modules_named(tuple(path), value):
                parse_module_id(name)


def _modules_named(path: Path, value: Any) -> Sequence[str]:
    """Modules that a section of `$edgeAgent` has the device run."""
    if path[:1] == ("modules",) and len(path) > 1:
        return [path[1]]
    section = value if path == ("modules",) else value.get("modules") if not path else None
    return list(section) if isinstance(section, Mapping) else []
