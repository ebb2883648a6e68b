"""Dashboards: boards of tiles, seen, kept current, and changed in place (contract/central.md 13).

An open page hears by server-sent events that a device of one of its tiles said something, and asks for those tiles
again. Where tiles lie stands in a style sheet of the dashboard's own, because pages have no styles inside of them. To
move and resize one there are buttons; dragging does the same by the same address.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse, Response

from moorage.accounts.model import Actor, OrganizationId, Permission
from moorage.analytics.boards import (
    TILE_KINDS,
    Board,
    Boards,
    Dashboard,
    Tile,
    TileKind,
    parse_board_id,
)
from moorage.analytics.explorer import AGGREGATES, Question, Subjects
from moorage.analytics.layout import add_tile, in_order, move_tile
from moorage.analytics.pictures import Pictures
from moorage.errors import Forbidden, Invalid, NotFound, Refusal
from moorage.ids import ETag
from moorage.web.board_code import dashboard_acts, new_dashboard_act, tile_acts
from moorage.web.dashboard_tiles import KIND_NAMES, Filled, TileFiller
from moorage.web.explorer import SPANS, choices_of, number_text
from moorage.web.live import HEARTBEAT_S, LivePages
from moorage.web.pages import TOLD, Page, Visit, etag_for, segment
from moorage.web.rendering import Renderer
from moorage.web.services import WebServices
from moorage.web.tile_form import threshold_fields, thresholds_of, tile_of, whole_number

__all__ = ["dashboard_pages"]

# Of the dashboard that an application begins with; it is stored once somebody changes it.
_DEFAULT: Final = "default"
# Tiles are filled for so long before a page goes out without the rest, which is then asked for one by one.
_FILLING_S: Final = 0.12
# An open page asks for values at most so often, and for lines.
_VALUES_S: Final = 0.8
_LINES_S: Final = 10.0
_SIZES: Final[Mapping[TileKind, tuple[int, int]]] = {
    "line_chart": (6, 4),
    "query": (6, 4),
    "messages": (8, 4),
    "health": (12, 2),
    "map": (6, 4),
    "property_map": (6, 4),
    "bar_chart": (4, 4),
    "pie_chart": (4, 4),
    "heat_map": (6, 4),
    "state_chart": (6, 4),
    "kpi": (3, 2),
    "device_count": (3, 2),
    "state_history": (4, 4),
    "event_chart": (6, 3),
    "event_history": (4, 4),
    "label": (4, 1),
}
# Each with what it takes to open its link.
_WELCOME: Final[tuple[tuple[Permission, str], ...]] = (
    ("certificates.view", "- Let devices in: [device connection groups](/groups) hold the certificates you trust\n"),
    ("templates.view", "- Say what they are: [device templates](/device-templates)\n"),
    ("data.view", "- See what they send: [data explorer](/explorer)\n"),
    ("attempts.view", "- When one is refused: [connection attempts](/attempts) say why\n"),
)


def dashboard_pages(services: WebServices, renderer: Renderer) -> list[Page]:
    pages = _Dashboards(services, renderer)
    one, tile = "/dashboards/{board_id}", "/dashboards/{board_id}/tiles/{tile_id}"
    return [
        Page("GET", "/", pages.home, "signed in"),
        Page("GET", "/dashboards", pages.all, "dashboards.view"),
        Page("GET", "/dashboards/new", pages.new, "dashboards.view"),
        Page("POST", "/dashboards", pages.create, "dashboards.view", keeps=True),
        Page("GET", "/dashboards/images/{image_id}", pages.image, "dashboards.view"),
        Page("GET", one, pages.show, "dashboards.view"),
        Page("GET", one + "/layout.css", pages.layout, "dashboards.view"),
        Page("GET", one + "/live", pages.live, "dashboards.view"),
        Page("GET", one + "/edit", pages.edit, "dashboards.view"),
        Page("POST", one, pages.rename, "dashboards.view", keeps=True),
        Page("POST", one + "/delete", pages.delete, "dashboards.view"),
        Page("POST", one + "/tiles", pages.add, "dashboards.view"),
        Page("GET", tile, pages.tile, "dashboards.view"),
        Page("GET", tile + "/edit", pages.configure, "dashboards.view"),
        Page("POST", tile, pages.save, "dashboards.view", keeps=True),
        Page("POST", tile + "/place", pages.place, "dashboards.view"),
        Page("POST", tile + "/delete", pages.remove, "dashboards.view"),
        Page("POST", tile + "/run", pages.run, "commands.run"),
    ]


def _default_dashboard(actor: Actor) -> Dashboard:
    """What an application begins with, of what this actor may open; messages are counted for the whole of it."""
    health = Tile("health", "health", x=0, y=0, width=12, height=2)
    text = "".join(line for gate, line in _WELCOME if actor.may(gate))
    begin = Tile("begin", "markdown", "Where to begin", x=8, y=2, width=4, height=4, text=text)
    if actor.organizations is not None:
        return Dashboard((health, replace(begin, x=0, width=6)))
    messages = Tile("messages", "messages", x=0, y=2, width=8, height=4, question=Question(minutes=180))
    return Dashboard((health, messages, begin))


class _Dashboards:
    def __init__(self, services: WebServices, renderer: Renderer) -> None:
        self._services = services
        self._boards: Boards[Dashboard] = services.dashboards
        self._pictures = Pictures(services.hub, services.board_store, services.clock)
        self._renderer = renderer
        self._filler = TileFiller(services)
        self._live = LivePages(services.accounts)

    # -- seen ----------------------------------------------------------------------------------------------------------

    async def home(self, visit: Visit) -> Response:
        there = f"/dashboards/{_DEFAULT}" if visit.may("dashboards.view") else "/devices"
        return RedirectResponse(there, HTTPStatus.SEE_OTHER)

    async def all(self, visit: Visit) -> Response:
        boards = await self._all(visit)
        return await self._renderer.long_page(
            visit,
            "dashboards/list.html",
            boards=[(board, self._boards.may_change(visit.actor, board)) for board in boards],
            nodes={each.organization_id: each.display_name for each in self._services.organizations.all()},
        )

    async def show(self, visit: Visit) -> Response:
        return await self._board_page(visit, self._board(visit), "dashboards/show.html")

    async def layout(self, visit: Visit) -> Response:
        rules = [
            f"#tile-{tile.tile_id}{{grid-area:{tile.y + 1}/{tile.x + 1}/span {tile.height}/span {tile.width}}}"
            for tile in self._board(visit).content.tiles
        ]
        sheet = "@media (min-width:60rem){" + "".join(rules) + "}"
        return Response(sheet, media_type="text/css; charset=utf-8")

    async def tile(self, visit: Visit) -> Response:
        board = self._board(visit)
        filled = await self._filler.fill(visit.actor, _tile(board, visit))
        return await self._renderer.long_page(
            visit, "dashboards/tile.html", board=board, each=filled, editing="edit" in visit.query, number=number_text
        )

    async def live(self, visit: Visit) -> Response:
        """Raises `Exhausted` (`telemetry.followers`)."""
        devices = await self._filler.devices(visit.actor, self._board(visit).content.tiles)
        return self._live.stream(visit, self._events(visit, devices))

    async def _events(self, visit: Visit, devices: Sequence[str]) -> AsyncGenerator[str, None]:
        clock, lines_at = self._services.clock, 0.0
        async with self._services.series.listen(devices) as listener:
            yield ": following\n\n"
            while self._live.is_signed_in(visit):
                if not await listener.wait(HEARTBEAT_S):
                    yield ": still here\n\n"
                    continue
                yield "event: values\ndata: new\n\n"
                if clock.monotonic() - lines_at > _LINES_S:
                    lines_at = clock.monotonic()
                    yield "event: lines\ndata: new\n\n"
                await asyncio.sleep(_VALUES_S)

    async def image(self, visit: Visit) -> Response:
        found = self._pictures.get(visit.path["image_id"])
        return Response(found.content, media_type=found.kind, headers={"cache-control": "private, max-age=86400"})

    # -- made and changed ----------------------------------------------------------------------------------------------

    async def new(self, visit: Visit) -> Response:
        copied = visit.query.get("copy", "")
        name = f"Copy of {self._find(visit, copied).display_name}" if copied else ""
        fields = {"id": f"board-{secrets.token_hex(6)}", "copy": copied, "name": name}
        return await self._new(visit, fields)

    async def _new(self, visit: Visit, fields: Mapping[str, str], problem: Refusal | None = None) -> Response:
        status = HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST
        nodes = self._services.organizations.seen_by(visit.actor)
        return self._renderer.page(
            visit,
            "dashboards/new.html",
            status,
            fields=fields,
            nodes=nodes,
            acts=[await asyncio.to_thread(new_dashboard_act, self._services.info(), self._typed(visit, fields))],
            problem=problem,
        )

    def _typed(self, visit: Visit, fields: Mapping[str, str]) -> Board[Dashboard]:
        """What the form for a new one would make."""
        is_shared = fields.get("for") == "organization"
        return Board(
            self._services.hub,
            fields["id"],
            fields.get("name") or "New dashboard",
            "" if is_shared else visit.actor.key,
            OrganizationId(fields.get("organization", visit.actor.organization)),
            self._find(visit, fields["copy"]).content if fields.get("copy") else Dashboard(),
            self._services.clock.now(),
        )

    async def create(self, visit: Visit) -> Response:
        fields = await visit.form()
        board_id = parse_board_id(fields.get("id", ""))
        try:
            visit.check_in_time()
            copied = fields.get("copy", "")
            content = self._find(visit, copied).content if copied else Dashboard()
            await self._boards.put(
                visit.actor,
                board_id,
                fields.get("name", ""),
                content,
                is_personal=fields.get("for") != "organization",
                organization=OrganizationId(fields.get("organization", visit.actor.organization)),
                is_new=True,
            )
        except TOLD as refusal:
            if refusal.reason == "board.exists" and self._is_of(self._find(visit, board_id), fields):
                # The same form, sent twice.
                return _to(board_id, edit=True)
            return await self._new(visit, fields, refusal)
        return _to(board_id, edit=True)

    def _is_of(self, board: Board[Dashboard], fields: Mapping[str, str]) -> bool:
        """Whether the form for a new one made it."""
        is_shared = fields.get("for") == "organization"
        is_there = not is_shared or board.organization == fields.get("organization", board.organization)
        return (board.display_name, board.is_personal, is_there) == (
            fields.get("name", "").strip(),
            not is_shared,
            True,
        )

    async def edit(self, visit: Visit) -> Response:
        return await self._editor(visit)

    async def _editor(self, visit: Visit, problem: Refusal | None = None, fields: Mapping[str, str] = {}) -> Response:
        board = self._board(visit)
        if not self._boards.may_change(visit.actor, board):
            raise Forbidden("board.shared", "this dashboard is an organization's; copy it to have one of your own")
        return await self._board_page(visit, board, "dashboards/edit.html", problem, fields)

    async def rename(self, visit: Visit) -> Response:
        fields = await visit.form()
        board = self._board(visit)
        try:
            visit.check_in_time()
            await self._change(
                visit, board, lambda tiles: tiles, name=fields.get("name", ""), if_match=_etag_in(fields)
            )
        except TOLD as refusal:
            return await self._editor(visit, refusal, fields)
        return _to(board.board_id, edit=True)

    async def delete(self, visit: Visit) -> Response:
        await self._boards.delete(visit.actor, self._board(visit).board_id)
        return RedirectResponse("/dashboards", HTTPStatus.SEE_OTHER)

    async def add(self, visit: Visit) -> Response:
        fields = await visit.form()
        board = self._board(visit)
        kind = next((each for each in TILE_KINDS if each == fields.get("kind")), None)
        try:
            if kind is None:
                raise Invalid("dashboard.tile", f"there is no tile of the kind {fields.get('kind', '')[:40]!r}")
            width, height = _SIZES.get(kind, (4, 3))
            tile = Tile(fields.get("tile") or _new_tile_id(), kind, width=width, height=height)
            # The same form, sent twice, adds one.
            await self._change(
                visit,
                board,
                lambda tiles: tiles if any(each.tile_id == tile.tile_id for each in tiles) else add_tile(tiles, tile),
            )
        except TOLD as refusal:
            return await self._editor(visit, refusal)
        if kind in ("health", "messages"):
            return _to(board.board_id, edit=True)
        return RedirectResponse(f"{_path(board.board_id)}/tiles/{tile.tile_id}/edit", HTTPStatus.SEE_OTHER)

    async def place(self, visit: Visit) -> Response:
        """By `x`, `y`, `width`, `height`, as dragging ends, or by one step in a direction, as buttons do."""
        fields = await visit.form()
        board = self._board(visit)
        tile = _tile(board, visit)
        await self._change(visit, board, lambda tiles: _placed(tiles, tile.tile_id, fields))
        if visit.is_fragment:
            return await self._board_page(visit, self._board(visit), "dashboards/grid.html")
        return RedirectResponse(f"{_path(board.board_id)}/edit#tile-{tile.tile_id}", HTTPStatus.SEE_OTHER)

    async def remove(self, visit: Visit) -> Response:
        board = self._board(visit)
        tile_id = visit.path["tile_id"]
        await self._change(visit, board, lambda tiles: tuple(each for each in tiles if each.tile_id != tile_id))
        return _to(board.board_id, edit=True)

    async def configure(self, visit: Visit) -> Response:
        board = self._board(visit)
        return await self._tile_form(visit, board, _tile(board, visit))

    async def save(self, visit: Visit) -> Response:
        fields, picture = await visit.form(), await visit.upload("picture")
        board = self._board(visit)
        tile = _tile(board, visit)
        changed = tile
        try:
            changed = tile_of(tile, fields)
            visit.check_in_time()
            if "show" in fields:
                # Another group, whose names are then to choose from.
                return await self._tile_form(visit, board, changed, fields=fields)
            changed = replace(changed, thresholds=thresholds_of(fields))
            if picture:
                changed = replace(changed, image=await self._pictures.keep(picture))
            await self._change(
                visit,
                board,
                lambda tiles: tuple(changed if each.tile_id == tile.tile_id else each for each in tiles),
                if_match=_etag_in(fields),
            )
        except TOLD as refusal:
            return await self._tile_form(visit, self._board(visit), changed, refusal, fields)
        return RedirectResponse(f"{_path(board.board_id)}/edit#tile-{tile.tile_id}", HTTPStatus.SEE_OTHER)

    async def run(self, visit: Visit) -> Response:
        """The command of a tile, on its device, which the actor has to see. Its history says what became of it."""
        tile = _tile(self._board(visit), visit)
        filled = await self._filler.fill(visit.actor, tile)
        if filled.problem is not None:
            raise filled.problem
        if tile.kind != "command":
            raise NotFound("route.unknown", "there is no such page")
        component, _, command = tile.command.rpartition(".")
        problem: Refusal | None = None
        outcome = None
        try:
            outcome = await self._services.commands.run(
                visit.actor, filled.values["device"].device_id, command, component=component
            )
        except Refusal as refusal:
            problem = refusal
        return await self._renderer.long_page(
            visit, "dashboards/outcome.html", run=outcome, problem=problem, board=self._board(visit), tile=tile
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _board(self, visit: Visit) -> Board[Dashboard]:
        return self._find(visit, visit.path["board_id"])

    def _find(self, visit: Visit, board_id: str) -> Board[Dashboard]:
        """Raises `NotFound` (`dashboard.unknown`)."""
        try:
            return self._boards.get(visit.actor, parse_board_id(board_id))
        except NotFound:
            if board_id != _DEFAULT:
                raise
        # Not stored yet; or an organization's that this actor does not see, who then has the one of the beginning.
        return Board(
            self._services.hub,
            _DEFAULT,
            "Overview",
            "",
            OrganizationId(""),
            _default_dashboard(visit.actor),
            self._services.clock.now(),
            version=0,
        )

    async def _all(self, visit: Visit) -> list[Board[Dashboard]]:
        boards = await self._boards.list(visit.actor)
        if all(board.board_id != _DEFAULT for board in boards):
            boards.insert(0, self._find(visit, _DEFAULT))
        return boards

    async def _change(
        self,
        visit: Visit,
        board: Board[Dashboard],
        edit: Callable[[tuple[Tile, ...]], tuple[Tile, ...]],
        *,
        name: str | None = None,
        if_match: ETag | None = None,
    ) -> None:
        await self._boards.change(
            visit.actor,
            board.board_id,
            lambda content: Dashboard(edit(content.tiles)),
            display_name=name,
            if_match=if_match,
            first=None if board.version else board,
        )

    async def _board_page(
        self,
        visit: Visit,
        board: Board[Dashboard],
        template: str,
        problem: Refusal | None = None,
        fields: Mapping[str, str] = {},
    ) -> Response:
        return await self._renderer.long_page(
            visit,
            template,
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            board=board,
            boards=await self._all(visit),
            tiles=await self._fill(visit, board),
            may_change=self._boards.may_change(visit.actor, board),
            kinds=KIND_NAMES,
            acts=await asyncio.to_thread(dashboard_acts, self._services.info(), board)
            if template == "dashboards/edit.html"
            else [],
            path=_path(board.board_id),
            name=fields.get("name", board.display_name),
            next_tile=_new_tile_id(),
            etag=etag_for(fields, problem, board.etag),
            editing=template != "dashboards/show.html",
            number=number_text,
            problem=problem,
        )

    async def _fill(self, visit: Visit, board: Board[Dashboard]) -> list[Filled]:
        """In the order in which they are read, as far as there is time for."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _FILLING_S
        filled = []
        for tile in in_order(board.content.tiles):
            if loop.time() > until:
                filled.append(Filled(tile, is_late=True))
            else:
                filled.append(await self._filler.fill(visit.actor, tile))
        return filled

    async def _tile_form(
        self,
        visit: Visit,
        board: Board[Dashboard],
        tile: Tile,
        problem: Refusal | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Response:
        if not self._boards.may_change(visit.actor, board):
            raise Forbidden("board.shared", "this dashboard is an organization's; copy it to have one of your own")
        services = self._services
        try:
            subjects = await services.explorer.subjects(visit.actor, tile.question)
        except (Invalid, NotFound) as refusal:
            subjects, problem = Subjects([], is_cut=False), problem or refusal
        return await self._renderer.long_page(
            visit,
            "dashboards/tile_form.html",
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
            board=board,
            tile=tile,
            thresholds=threshold_fields(tile) if fields is None else fields,
            etag=etag_for(fields or {}, problem, board.etag),
            path=_path(board.board_id),
            kind_name=KIND_NAMES[tile.kind],
            groups=await services.groups.list(visit.actor),
            queries=await services.queries.list(visit.actor),
            choices=await choices_of(services.explorer, services.templates, tile.question, subjects),
            aggregates=AGGREGATES,
            spans=SPANS,
            acts=await asyncio.to_thread(tile_acts, services.info(), board, tile, may_run=visit.may("commands.run")),
            problem=problem,
        )


def _new_tile_id() -> str:
    return f"t{secrets.token_hex(5)}"


def _etag_in(fields: Mapping[str, str]) -> ETag | None:
    return ETag(fields["etag"]) if "etag" in fields else None


def _tile(board: Board[Dashboard], visit: Visit) -> Tile:
    """Raises `NotFound` (`dashboard.unknown`)."""
    for tile in board.content.tiles:
        if tile.tile_id == visit.path["tile_id"]:
            return tile
    raise NotFound("dashboard.unknown", "this dashboard has no such tile any more")


def _placed(tiles: tuple[Tile, ...], tile_id: str, fields: Mapping[str, str]) -> tuple[Tile, ...]:
    """With that tile where the form says; as they are where it is gone."""
    tile = next((each for each in tiles if each.tile_id == tile_id), None)
    if tile is None:
        return tiles
    numbers = {name: whole_number(fields.get(name, ""), getattr(tile, name)) for name in ("x", "y", "width", "height")}
    name, _, sign = fields.get("step", "").partition(" ")
    if name in numbers and sign in ("more", "less"):
        numbers[name] += 1 if sign == "more" else -1
        if name == "y" and sign == "more":
            # One step down has to pass whatever lies below, or it would rise again.
            numbers[name] += max((each.height for each in tiles if each.y == tile.y + tile.height), default=0)
    return move_tile(tiles, tile.tile_id, **numbers)


def _path(board_id: str) -> str:
    return f"/dashboards/{segment(board_id)}"


def _to(board_id: str, *, edit: bool = False) -> Response:
    return RedirectResponse(_path(board_id) + ("/edit" if edit else ""), HTTPStatus.SEE_OTHER)
