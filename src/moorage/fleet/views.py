"""What a device's page shows, as its template says: views made of tiles (central.md 7.5).

Overview, About, Commands and one form follow from the model whenever they are asked for, so that a capability that is
added shows at once. Custom views (tiles in an order) and further forms (properties that are saved together) are kept
with the template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from moorage.dtdl.model import Command, Interface, Property, Telemetry
from moorage.errors import Invalid

__all__ = [
    "MAX_TILES",
    "MAX_VIEWS",
    "TILE_KINDS",
    "Subject",
    "Tile",
    "TileKind",
    "View",
    "ViewKind",
    "check_views",
    "generated_views",
    "still_fitting",
]

TileKind = Literal["chart", "last_value", "event", "property", "command", "text"]
TILE_KINDS: Final[tuple[TileKind, ...]] = get_args(TileKind)
ViewKind = Literal["overview", "about", "commands", "custom", "form"]

MAX_VIEWS: Final = 20
# As a dashboard has (central.md DB-4).
MAX_TILES: Final = 100
MAX_SUBJECTS: Final = 10
MAX_NAME_CHARS: Final = 100
MAX_TEXT_CHARS: Final = 4000

_VIEW_ID: Final = re.compile(r"[a-z0-9-]{1,48}")
_GENERATED: Final = ("overview", "about", "commands", "writable")
# A page is called so where a view's name stands otherwise.
_RESERVED: Final = (*_GENERATED, "new")


class Subject(NamedTuple):
    """A capability: `component` is '' for the root."""

    component: str
    name: str


@dataclass(frozen=True, slots=True)
class Tile:
    """`subjects` are telemetry, properties or one command, as the kind says; a text has none but its `text`."""

    kind: TileKind
    title: str = ""
    subjects: tuple[Subject, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """`view_id` names it in addresses."""

    view_id: str
    name: str
    kind: ViewKind
    tiles: tuple[Tile, ...]

    @property
    def is_generated(self) -> bool:
        return self.view_id in _GENERATED


def generated_views(interface: Interface) -> tuple[View, ...]:
    """Overview, About, Commands and a form of all that can be written, without those that would be empty (V-1 to V-3).

    The form is ours: in IoT Central nobody sets a property before somebody has made one.
    """
    views = (
        View("overview", "Overview", "overview", tuple(_overview(interface))),
        View("about", "About", "about", tuple(_properties(interface, lambda _each: True))),
        View("commands", "Commands", "commands", tuple(_commands(interface))),
        View("writable", "Form", "form", tuple(_properties(interface, lambda each: each.is_writable or each.is_cloud))),
    )
    return tuple(view for view in views if view.tiles)


def check_views(views: Sequence[View], interface: Interface) -> None:
    """Of the views that are kept. Raises `Invalid` (`view.*`)."""
    if len(views) > MAX_VIEWS:
        raise Invalid("view.number", f"a template has at most {MAX_VIEWS} views of its own, these are {len(views)}")
    for view in views:
        if not _VIEW_ID.fullmatch(view.view_id) or view.view_id in _RESERVED:
            raise Invalid("view.id", f"{view.view_id[:60]!r} cannot name a view")
        if not view.name.strip() or len(view.name) > MAX_NAME_CHARS:
            raise Invalid("view.name", f"a view needs a name of at most {MAX_NAME_CHARS} characters")
        if len(view.tiles) > MAX_TILES:
            raise Invalid("view.number", f"a view has at most {MAX_TILES} tiles, '{view.name}' has {len(view.tiles)}")
        for tile in view.tiles:
            _check_tile(tile, view, interface)
    if len({view.view_id for view in views}) < len(views):
        raise Invalid("view.id", "two views have the same id")


def still_fitting(views: Sequence[View], interface: Interface) -> tuple[View, ...]:
    """Those of `views` that the model still has everything for."""
    fitting = []
    for view in views:
        try:
            check_views([view], interface)
        except Invalid:
            continue
        fitting.append(view)
    return tuple(fitting)


def _check_tile(tile: Tile, view: View, interface: Interface) -> None:
    if len(tile.title) > MAX_NAME_CHARS or len(tile.text) > MAX_TEXT_CHARS or len(tile.subjects) > MAX_SUBJECTS:
        raise Invalid(
            "view.tile",
            f"a tile of '{view.name}' is too large: {MAX_NAME_CHARS} characters of title, {MAX_TEXT_CHARS} of text, "
            f"{MAX_SUBJECTS} capabilities",
        )
    if view.kind == "form" and tile.kind != "property":
        raise Invalid("view.tile", f"a form has properties alone, '{view.name}' has a {tile.kind}")
    if tile.kind != "text" and not tile.subjects:
        raise Invalid("view.tile", f"a tile of '{view.name}' shows nothing: choose what")
    for subject in tile.subjects:
        part = interface.part(subject.component)
        found = None if part is None else part.by_name.get(subject.name)
        if not isinstance(found, _SHOWS[tile.kind]):
            raise Invalid(
                "view.tile",
                f"'{view.name}' has a {tile.kind} tile of {_spelled(subject)}, which the model does not have as such",
            )
        if view.kind == "form" and isinstance(found, Property) and not (found.is_writable or found.is_cloud):
            raise Invalid("view.tile", f"{_spelled(subject)} cannot be written, so it has no place in '{view.name}'")


_SHOWS: Final[dict[TileKind, tuple[type, ...]]] = {
    "chart": (Telemetry,),
    "last_value": (Telemetry,),
    "event": (Telemetry,),
    "property": (Property,),
    "command": (Command,),
    "text": (),
}


def _spelled(subject: Subject) -> str:
    return f"{subject.component}.{subject.name}" if subject.component else subject.name


def _overview(interface: Interface) -> Iterator[Tile]:
    for component, part in interface.parts():
        for each in part.telemetry:
            kind: TileKind = "event" if each.is_event else "chart" if each.is_number else "last_value"
            yield Tile(kind, each.label, (Subject(component, each.name),))


def _properties(interface: Interface, is_shown: Callable[[Property], bool]) -> Iterator[Tile]:
    for component, part in interface.parts():
        names = [each.name for each in (*part.properties, *part.cloud_properties) if is_shown(each)]
        if names:
            label = interface.by_name[component].label if component else interface.label
            yield Tile("property", label, tuple(Subject(component, name) for name in names))


def _commands(interface: Interface) -> Iterator[Tile]:
    for component, part in interface.parts():
        for each in part.commands:
            yield Tile("command", each.label, (Subject(component, each.name),))
