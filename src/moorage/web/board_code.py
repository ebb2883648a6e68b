"""What the buttons of device groups and dashboards do, as code.

A dashboard is sent whole: REST has no tiles of their own. So many that nobody would read them are a file. Somebody's
own dashboard is nobody else's, a token's neither, so there is no code for what changes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from moorage.analytics.boards import Board, Dashboard, Tile
from moorage.analytics.layout import add_tile
from moorage.dialects.central_dashboards import dashboard_json
from moorage.fleet.groups import GroupDraft
from moorage.hub_info import HubInfo
from moorage.web.code import Act, Call, Document, Upload, act_as_code, central_path

__all__ = ["dashboard_acts", "device_group_acts", "new_dashboard_act", "tile_acts"]

# Characters of JSON.
_MOST_SHOWN: Final = 16 * 1024


# -- device groups -----------------------------------------------------------------------------------------------------


def device_group_acts(info: HubInfo, group_id: str, draft: GroupDraft, *, is_new: bool) -> list[Act]:
    there, which = central_path("deviceGroups", group_id), ("--device-group-id", group_id)
    body: dict[str, Any] = {"displayName": draft.display_name, "filter": draft.query}
    words = [*which, "--display-name", draft.display_name, "--filter", draft.query]
    if draft.description:
        body["description"] = draft.description
        words += ["--description", draft.description]
    if draft.organization:
        body["organizations"] = [draft.organization]
        words += ["--organizations", draft.organization]
    if is_new:
        return [act_as_code(info, "Save", Call("PUT", there, body, ("device-group", "create", *words)))]
    # A change leaves as it is what it does not name: what was emptied is named, too.
    body = {"description": "", "organizations": [], **body}
    if not draft.description:
        words += ["--description", ""]
    return [
        act_as_code(info, "Save", Call("PATCH", there, body, ("device-group", "update", *words))),
        act_as_code(info, "Delete", Call("DELETE", there, az=("device-group", "delete", *which))),
    ]


# -- dashboards --------------------------------------------------------------------------------------------------------


def new_dashboard_act(info: HubInfo, board: Board[Dashboard]) -> Act:
    body = _sent(board, board.content.tiles) | {"personal": board.is_personal}
    return act_as_code(info, "Create", Call("PUT", _path(board), body, api="preview"))


def dashboard_acts(info: HubInfo, board: Board[Dashboard]) -> list[Act]:
    """Of the page on which tiles are added: a label, in the place of any kind."""
    if board.is_personal:
        return []
    tile = Tile("label-1", "label", width=4, height=1, text="Hall 7")
    acts = [_put(info, "Add a tile", board, add_tile(board.content.tiles, tile))]
    if board.version:
        rename = Call("PATCH", _path(board), {"displayName": board.display_name}, api="preview")
        acts.append(act_as_code(info, "Rename", rename))
        acts.append(act_as_code(info, "Delete", Call("DELETE", _path(board), api="preview")))
    return acts


def tile_acts(info: HubInfo, board: Board[Dashboard], tile: Tile, *, may_run: bool) -> list[Act]:
    """Of the page of one tile, as its form has it; where it lies is in it too."""
    acts = []
    if tile.kind == "image":
        # Save then names it by the id that is answered.
        picture = Call("POST", "/dashboardPictures", Upload("picture.png", "image/png"), api="own")
        acts.append(act_as_code(info, "Picture", picture))
    if not board.is_personal:
        tiles = [tile if each.tile_id == tile.tile_id else each for each in board.content.tiles]
        acts += [
            _put(info, "Save", board, tiles),
            _put(info, "Remove this tile", board, [each for each in tiles if each.tile_id != tile.tile_id]),
        ]
    if may_run and tile.kind == "command" and tile.command and tile.question.devices:
        acts.append(_run(info, tile.question.devices[0], tile.command))
    return acts


def _run(info: HubInfo, device_id: str, command: str) -> Act:
    component, _, name = command.rpartition(".")
    words = ["device", "command", "run", "--device-id", device_id, "--command-name", name, "--content", {}]
    path = central_path("devices", device_id)
    if component:
        path += central_path("components", component)
        words += ["--component-name", component]
    return act_as_code(info, "Run", Call("POST", path + central_path("commands", name), {}, words))


def _put(info: HubInfo, label: str, board: Board[Dashboard], tiles: Sequence[Tile]) -> Act:
    return act_as_code(info, label, Call("PUT", _path(board), _sent(board, tiles), api="preview"))


def _sent(board: Board[Dashboard], tiles: Sequence[Tile]) -> dict[str, Any]:
    document = dashboard_json(replace(board, content=Dashboard(tuple(tiles))))
    if len(json.dumps(document["tiles"])) > _MOST_SHOWN:
        document["tiles"] = Document("tiles.json")
    return {name: document[name] for name in ("displayName", "tiles", "organizations") if name in document}


def _path(board: Board[Dashboard]) -> str:
    return central_path("dashboards", board.board_id)
