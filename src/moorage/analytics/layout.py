"""Where tiles lie on the grid of a dashboard: what is put somewhere pushes down what it covers (central.md DB-3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from moorage.analytics.boards import COLUMNS, MAX_HEIGHT, MAX_ROW, Tile

__all__ = ["add_tile", "in_order", "move_tile"]


def in_order(tiles: Iterable[Tile]) -> list[Tile]:
    """From the top, and of one row from the left: the order in which they are read, also on a narrow screen."""
    return sorted(tiles, key=lambda tile: (tile.y, tile.x, tile.tile_id))


def add_tile(tiles: Sequence[Tile], tile: Tile) -> tuple[Tile, ...]:
    """With `tile` at the first place below the others where it fits."""
    # The first place is at the top, or right below another tile.
    for y in sorted({0, *(each.y + each.height for each in tiles)}):
        for x in range(COLUMNS - tile.width + 1):
            placed = replace(tile, x=x, y=y)
            if not any(_overlap(placed, each) for each in tiles):
                return tuple(in_order([*tiles, placed]))
    raise AssertionError("below all others there is always room")


def move_tile(tiles: Sequence[Tile], tile_id: str, x: int, y: int, width: int, height: int) -> tuple[Tile, ...]:
    """With that tile there, within the grid; tiles that it covers move down, and then all up as far as they can."""
    width, height = max(1, min(width, COLUMNS)), max(1, min(height, MAX_HEIGHT))
    x, y = max(0, min(x, COLUMNS - width)), max(0, min(y, MAX_ROW))
    moved = [replace(tile, x=x, y=y, width=width, height=height) for tile in tiles if tile.tile_id == tile_id]
    settled = list(moved)
    for tile in in_order(each for each in tiles if each.tile_id != tile_id):
        settled.append(_below(tile, settled))
    return _risen(settled)


def _below(tile: Tile, placed: Sequence[Tile]) -> Tile:
    """The first place at or below its own where it covers nothing."""
    while True:
        covered = [each for each in placed if _overlap(tile, each)]
        if not covered:
            return tile
        tile = replace(tile, y=max(each.y + each.height for each in covered))


def _risen(tiles: Sequence[Tile]) -> tuple[Tile, ...]:
    """No row is left empty above a tile that could be there. None of them covers another."""
    risen: list[Tile] = []
    for tile in in_order(tiles):
        above = (each.y + each.height for each in risen if _share_columns(tile, each))
        risen.append(replace(tile, y=max(above, default=0)))
    return tuple(risen)


def _overlap(one: Tile, other: Tile) -> bool:
    return _share_columns(one, other) and one.y < other.y + other.height and other.y < one.y + one.height


def _share_columns(one: Tile, other: Tile) -> bool:
    return one.x < other.x + other.width and other.x < one.x + one.width
