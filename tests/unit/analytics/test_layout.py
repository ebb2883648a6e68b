from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.analytics.boards import COLUMNS, MAX_TILES, Dashboard, Tile, check_dashboard
from moorage.analytics.explorer import Question
from moorage.analytics.layout import add_tile, in_order, move_tile
from moorage.errors import Invalid, TooLarge

sizes = st.tuples(st.integers(1, COLUMNS), st.integers(1, 6))
moves = st.tuples(st.integers(0, 7), st.integers(-3, 15), st.integers(-3, 30), st.integers(-1, 15), st.integers(-1, 15))


def cells(tile: Tile) -> set[tuple[int, int]]:
    return {(x, y) for x in range(tile.x, tile.x + tile.width) for y in range(tile.y, tile.y + tile.height)}


def expect_good(tiles: tuple[Tile, ...]) -> None:
    """Nothing covers anything, all is on the grid, and no row lies empty above a tile."""
    check_dashboard(Dashboard(tiles))
    taken = [cell for tile in tiles for cell in cells(tile)]
    assert len(taken) == len(set(taken))
    for tile in tiles:
        above = {(x, tile.y - 1) for x in range(tile.x, tile.x + tile.width)}
        assert tile.y == 0 or above & set(taken)


@given(st.lists(sizes, min_size=1, max_size=8), st.lists(moves, max_size=6))
def test_tiles_never_cover_each_other_however_they_are_moved(
    shapes: list[tuple[int, int]], steps: list[tuple[int, int, int, int, int]]
) -> None:
    tiles: tuple[Tile, ...] = ()
    for number, (width, height) in enumerate(shapes):
        tiles = add_tile(tiles, Tile(f"t{number}", "label", width=width, height=height))
        expect_good(tiles)
    for at, x, y, width, height in steps:
        tile_id = f"t{at % len(shapes)}"
        tiles = move_tile(tiles, tile_id, x, y, width, height)
        expect_good(tiles)
        assert {tile.tile_id for tile in tiles} == {f"t{number}" for number in range(len(shapes))}


def test_a_tile_that_is_put_on_another_pushes_it_down() -> None:
    tiles = (Tile("a", "label", x=0, y=0, width=4, height=2), Tile("b", "label", x=4, y=0, width=4, height=2))
    moved = move_tile(tiles, "a", 4, 0, 4, 2)
    assert [(tile.tile_id, tile.x, tile.y) for tile in moved] == [("a", 4, 0), ("b", 4, 2)]


def test_as_many_tiles_as_there_may_be_fit_however_high_they_are() -> None:
    tiles: tuple[Tile, ...] = ()
    for number in range(MAX_TILES):
        tiles = add_tile(tiles, Tile(f"t{number}", "label", width=COLUMNS, height=12))
    expect_good(tiles)
    with pytest.raises(Invalid, match="row -1"):
        check_dashboard(Dashboard((Tile("a", "label", y=-1),)))


def test_tiles_that_lie_far_apart_are_moved_together_at_once() -> None:
    apart = tuple(
        Tile(f"t{number}", "label", x=number % COLUMNS, y=300 - number, width=1) for number in range(MAX_TILES)
    )
    began = time.process_time()
    tiles = move_tile(apart, "t0", 0, 0, 1, 3)
    assert time.process_time() - began < 1
    expect_good(tiles)


def test_tiles_are_read_from_the_top_and_from_the_left() -> None:
    tiles = [Tile("c", "label", x=0, y=3), Tile("b", "label", x=6, y=0), Tile("a", "label", x=0, y=0)]
    assert [tile.tile_id for tile in in_order(tiles)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "tile",
    [
        Tile("a b", "label"),
        Tile("a", "label", width=13),
        Tile("a", "label", width=0),
        Tile("a", "label", height=13),
        Tile("a", "label", x=9, width=4),
        Tile("a", "label", y=-1),
        Tile("a", "label", title="t" * 129),
        Tile("a", "label", text="t" * 8001),
        Tile("a", "property", paths=("p",) * 11),
        Tile("a", "kpi", decimals=10),
        Tile("a", "kpi", question=Question(devices=tuple(f"d{number}" for number in range(11)))),
        Tile("a", "kpi", question=Question(step=3)),
    ],
)
def test_a_tile_that_cannot_be_so_is_refused(tile: Tile) -> None:
    with pytest.raises(Invalid):
        check_dashboard(Dashboard((tile,)))


def test_a_dashboard_has_a_bound_and_no_tile_twice() -> None:
    tile = Tile("a", "label")
    with pytest.raises(Invalid, match="same id"):
        check_dashboard(Dashboard((tile, tile)))
    many = tuple(replace(tile, tile_id=f"t{number}") for number in range(MAX_TILES + 1))
    with pytest.raises(TooLarge, match="101"):
        check_dashboard(Dashboard(many))
