"""Dashboards and saved queries: what people made of telemetry, and who may see and change it (central.md 12, 13).

Either belongs to one person (`owner`), or to an organisation, whose people all see it; to change the latter takes a
permission. A dashboard is tiles on a grid of integer cells (DB-3).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Generic, Literal, NewType, Protocol, TypeVar, get_args

from moorage.accounts.model import Actor, OrganizationId
from moorage.accounts.organizations import ROOT, OrganizationTables
from moorage.analytics.explorer import Question, check_question
from moorage.clock import Clock
from moorage.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from moorage.ids import ETag, HubId, check_etag
from moorage.store import Store

__all__ = [
    "COLUMNS",
    "IMAGE_KINDS",
    "MAX_DEVICES_OF_TILE",
    "MAX_IMAGE_BYTES",
    "MAX_TILES",
    "TILE_KINDS",
    "Board",
    "BoardTable",
    "BoardTables",
    "Boards",
    "Dashboard",
    "Image",
    "ImageTable",
    "SavedQuery",
    "Threshold",
    "Tile",
    "TileKind",
    "check_dashboard",
    "check_query",
    "parse_board_id",
]

audit = logging.getLogger("moorage.audit")

BoardId = NewType("BoardId", str)
TileKind = Literal[
    "line_chart",
    "bar_chart",
    "pie_chart",
    "heat_map",
    "kpi",
    "last_value",
    "property",
    "device_count",
    "map",
    "property_map",
    "state_chart",
    "state_history",
    "event_chart",
    "event_history",
    "messages",
    "health",
    "query",
    "command",
    "label",
    "markdown",
    "image",
]
TILE_KINDS: Final[tuple[TileKind, ...]] = get_args(TileKind)

# central.md DB-4
MAX_TILES: Final = 100
MAX_DEVICES_OF_TILE: Final = 10
COLUMNS: Final = 12
MAX_HEIGHT: Final = 12
# So many tiles may lie below each other.
MAX_ROW: Final = MAX_TILES * MAX_HEIGHT
MAX_NAME: Final = 128
MAX_TEXT: Final = 8_000
MAX_PATHS: Final = 10
MAX_BOARDS: Final = 500
MAX_IMAGE_BYTES: Final = 512 * 1024
MAX_IMAGES: Final = 200
# What a browser draws without running any of it.
IMAGE_KINDS: Final = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_UNKNOWN: Final = {"dashboard": "dashboard.unknown", "query": "query.unknown"}


@dataclass(frozen=True, slots=True)
class Threshold:
    """Conditional formatting (DB-7): values from here on have this colour."""

    least: float
    colour: Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Tile:
    """`question` says of which devices and what; `paths` are properties; `text` is of labels and markdown.

    Attributes:
        query: the id of a saved query, for a tile that shows one.
        image: the id of an uploaded picture.
        command: what its button runs, on the one device of the question.
        decimals: of numbers; None as they are.
    """

    tile_id: str
    kind: TileKind
    title: str = ""
    x: int = 0
    y: int = 0
    width: int = 4
    height: int = 3
    question: Question = Question()
    paths: tuple[str, ...] = ()
    text: str = ""
    query: str = ""
    image: str = ""
    command: str = ""
    decimals: int | None = None
    is_abbreviated: bool = False
    thresholds: tuple[Threshold, ...] = ()


@dataclass(frozen=True, slots=True)
class Dashboard:
    """What a dashboard shows."""

    tiles: tuple[Tile, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedQuery:
    question: Question


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Board(Generic[T]):
    """`content` with who has it. `owner` is the key of an actor, '' for what belongs to `organization`."""

    hub: HubId
    board_id: str
    display_name: str
    owner: str
    organization: OrganizationId
    content: T
    created: datetime
    version: int = 1

    @property
    def etag(self) -> ETag:
        return ETag(f"{int(self.created.timestamp() * 1_000_000):014x}-{self.version:08x}")

    @property
    def is_personal(self) -> bool:
        return bool(self.owner)


@dataclass(frozen=True, slots=True)
class Image:
    """`kind` is its media type."""

    hub: HubId
    image_id: str
    kind: str
    content: bytes
    created: datetime


class BoardTable(Protocol):
    """Boards of one sort, keyed by (hub, id)."""

    def find(self, hub: HubId, board_id: str) -> Board[Any] | None: ...

    def all(self, hub: HubId) -> list[Board[Any]]:
        """In the order of their names."""

    def count(self, hub: HubId) -> int: ...

    def put(self, board: Board[Any]) -> None: ...

    def delete(self, hub: HubId, board_id: str) -> None: ...


class ImageTable(Protocol):
    def find(self, hub: HubId, image_id: str) -> Image | None: ...

    def put(self, image: Image) -> None: ...

    def count(self, hub: HubId) -> int: ...

    def keep_only(self, hub: HubId, image_ids: frozenset[str], before: datetime) -> int:
        """Delete those made before then that are not among these; how many."""


class BoardTables(OrganizationTables, Protocol):
    @property
    def dashboards(self) -> BoardTable: ...

    @property
    def explorer_queries(self) -> BoardTable: ...

    @property
    def dashboard_images(self) -> ImageTable: ...


class Boards(Generic[T]):
    """Dashboards, or saved queries, of one hub's application: `table` says which, `check` what may be in one."""

    def __init__(
        self,
        hub: HubId,
        store: Store[BoardTables],
        clock: Clock,
        what: Literal["dashboard", "query"],
        table: Callable[[BoardTables], BoardTable],
        check: Callable[[T], None],
    ) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self._what = what
        self._table = table
        self._check = check

    async def list(self, actor: Actor) -> list[Board[T]]:
        """Those that the actor sees, by name."""
        found = await self._store.scan(lambda tables: self._table(tables).all(self._hub))
        return [board for board in found if _is_seen(actor, board)]

    def get(self, actor: Actor, board_id: str) -> Board[T]:
        """Raises `NotFound` (`dashboard.unknown`, `query.unknown`)."""
        return self._get(self._store.read(), actor, board_id)

    def may_change(self, actor: Actor, board: Board[T]) -> bool:
        return board.is_personal or (actor.may("dashboards.manage") and actor.sees(board.organization))

    async def put(
        self,
        actor: Actor,
        board_id: str,
        display_name: str,
        content: T,
        *,
        is_personal: bool,
        organization: OrganizationId = ROOT,
        if_match: ETag | None = None,
        is_new: bool = False,
    ) -> Board[T]:
        """Create or replace.

        Raises:
            Invalid: `board.name`, and what `check` does.
            Forbidden: `board.shared`, to make or change what is everybody's takes dashboards.manage.
            NotFound: `organization.unknown`; `dashboard.unknown`, `query.unknown` with `if_match`.
            Conflict: `board.exists`.
            PreconditionFailed: `etag.stale`.
            TooLarge: `board.number`.
        """
        name = self._parse_name(display_name)
        self._check(content)
        now = self._clock.now()

        def work(tables: BoardTables) -> Board[T]:
            table = self._table(tables)
            present = table.find(self._hub, board_id)
            if present is not None and (is_new or not _is_seen(actor, present)):
                raise Conflict("board.exists", f"there is a {self._what} with the id '{board_id}' already")
            if present is None:
                if if_match is not None:
                    # What was read is gone, and is not to come back by being saved.
                    raise self._unknown(board_id)
                self._check_number(table)
            else:
                self._check_may(actor, present)
                check_etag(f"the {self._what} '{present.board_id}'", if_match, present.etag)
            is_there = organization == ROOT or tables.organizations.find(self._hub, organization) is not None
            if not is_personal and (not is_there or not actor.sees(organization)):
                raise NotFound("organization.unknown", f"there is no organization '{organization[:60]}'")
            stored: Board[T] = Board(
                self._hub,
                board_id,
                name,
                actor.key if is_personal else "",
                actor.organization if is_personal else organization,
                content,
                now if present is None else present.created,
                1 if present is None else present.version + 1,
            )
            self._check_may(actor, stored)
            table.put(stored)
            return stored

        stored = await self._store.write(work)
        self._tell("created" if stored.version == 1 else "changed", actor, stored)
        return stored

    async def change(
        self,
        actor: Actor,
        board_id: str,
        edit: Callable[[T], T],
        *,
        display_name: str | None = None,
        if_match: ETag | None = None,
        first: Board[T] | None = None,
    ) -> Board[T]:
        """Keep what `edit` makes of the content, and another name with `display_name`: of two at one time, neither is
        lost. `edit` is called in the transaction and may refuse; `first` is what is changed where none is stored yet.

        Raises as `put`, and `NotFound`.
        """
        name = None if display_name is None else self._parse_name(display_name)

        def work(tables: BoardTables) -> Board[T]:
            table = self._table(tables)
            if first is not None and table.find(self._hub, board_id) is None:
                present = first
                self._check_number(table)
            else:
                present = self._get(tables, actor, board_id)
                check_etag(f"the {self._what} '{present.board_id}'", if_match, present.etag)
            self._check_may(actor, present)
            stored = replace(
                present,
                display_name=name or present.display_name,
                content=edit(present.content),
                version=present.version + 1,
            )
            self._check(stored.content)
            table.put(stored)
            return stored

        stored = await self._store.write(work)
        self._tell("created" if stored.version == 1 else "changed", actor, stored)
        return stored

    async def delete(self, actor: Actor, board_id: str, *, if_match: ETag | None = None) -> None:
        """Raises `NotFound`, `Forbidden` (`board.shared`), `PreconditionFailed` (`etag.stale`)."""

        def work(tables: BoardTables) -> Board[T]:
            present = self._get(tables, actor, board_id)
            self._check_may(actor, present)
            check_etag(f"the {self._what} '{present.board_id}'", if_match, present.etag)
            self._table(tables).delete(self._hub, board_id)
            return present

        self._tell("deleted", actor, await self._store.write(work))

    def _get(self, tables: BoardTables, actor: Actor, board_id: str) -> Board[T]:
        found: Board[T] | None = self._table(tables).find(self._hub, board_id)
        if found is None or not _is_seen(actor, found):
            raise self._unknown(board_id)
        return found

    def _unknown(self, board_id: str) -> NotFound:
        return NotFound(_UNKNOWN[self._what], f"there is no {self._what} '{board_id[:60]}'")

    def _parse_name(self, text: str) -> str:
        name = text.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise Invalid("board.name", f"a {self._what} has a name of 1 to {MAX_NAME} characters on one line")
        return name

    def _check_number(self, table: BoardTable) -> None:
        if table.count(self._hub) >= MAX_BOARDS:
            raise TooLarge("board.number", f"an application has at most {MAX_BOARDS} of these")

    def _check_may(self, actor: Actor, board: Board[T]) -> None:
        if not self.may_change(actor, board):
            raise Forbidden(
                "board.shared",
                f"this {self._what} belongs to an organization: to change it takes the permission dashboards.manage, "
                f"which {actor.name} has not; copy it to have one of your own",
            )

    def _tell(self, act: str, actor: Actor, board: Board[T]) -> None:
        facts = {
            "hub": self._hub,
            self._what: board.board_id,
            "name": board.display_name,
            "of": actor.name if board.is_personal else board.organization or "(the root)",
            "by": actor.name,
        }
        event = f"{self._what}.{act}"
        line = " ".join(f"{name}=%r" for name in facts)
        audit.info(f"{event} {line}", *facts.values(), extra={"event": event, "facts": facts})


def parse_board_id(text: str) -> str:
    """Raises `Invalid` (`board.id`)."""
    if not _ID.fullmatch(text):
        raise Invalid("board.id", f"{text[:80]!r} is no id: 1 to 64 letters, digits, - and _")
    return text


def check_query(query: SavedQuery) -> None:
    """Raises `Invalid` (`explorer.question`)."""
    check_question(query.question)


def check_dashboard(dashboard: Dashboard) -> None:
    """Raises `Invalid` (`dashboard.tile`, `explorer.question`), `TooLarge` (`dashboard.tiles`)."""
    tiles = dashboard.tiles
    if len(tiles) > MAX_TILES:
        raise TooLarge("dashboard.tiles", f"a dashboard has at most {MAX_TILES} tiles, this has {len(tiles)}")
    if len({tile.tile_id for tile in tiles}) != len(tiles):
        raise Invalid("dashboard.tile", "two tiles have the same id")
    for tile in tiles:
        _check_tile(tile)


def _check_tile(tile: Tile) -> None:
    check_question(tile.question)
    shown = tile.title or tile.kind.replace("_", " ")
    wrong, field = "", ""
    if not _ID.fullmatch(tile.tile_id):
        wrong = "its id has other characters than letters, digits, - and _"
    elif not (1 <= tile.width <= COLUMNS and 1 <= tile.height <= MAX_HEIGHT):
        wrong = f"it is {tile.width} by {tile.height} cells: at most {COLUMNS} by {MAX_HEIGHT}, at least one"
    elif not 0 <= tile.y <= MAX_ROW:
        wrong = f"it begins in row {tile.y}: the grid has {MAX_ROW}"
    elif not 0 <= tile.x <= COLUMNS - tile.width:
        wrong = f"it begins in column {tile.x} and is {tile.width} wide: the grid has {COLUMNS}"
    elif len(tile.title) > MAX_NAME or len(tile.text) > MAX_TEXT:
        wrong = f"a title has at most {MAX_NAME} characters, a text {MAX_TEXT}"
        field = "title" if len(tile.title) > MAX_NAME else "text"
    elif len(tile.paths) > MAX_PATHS:
        wrong = f"it shows {len(tile.paths)} properties, at most {MAX_PATHS} fit"
        field = "paths"
    elif len(tile.question.devices) > MAX_DEVICES_OF_TILE:
        wrong = f"it names {len(tile.question.devices)} devices, at most {MAX_DEVICES_OF_TILE} may be picked"
        field = "devices"
    elif tile.decimals is not None and not 0 <= tile.decimals <= 9:
        wrong, field = "numbers have 0 to 9 decimals", "decimals"
    if wrong:
        raise Invalid("dashboard.tile", f"the tile {shown[:60]!r} cannot be so: {wrong}", field=field)


def _is_seen(actor: Actor, board: Board[Any]) -> bool:
    return board.owner == actor.key if board.is_personal else actor.sees(board.organization)
