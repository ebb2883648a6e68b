"""Blocks of uploads on a real disk: what is counted, what is left, and what an end in the middle does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moorage.adapters.block_folder import BlockFolder
from moorage.errors import Invalid, TooLarge, Unavailable

UPLOAD = "8a1e9f1e-0000-4000-8000-000000000001"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def folder(path: Path, *, most: int = 1_000_000, most_waiting: int = 1_000_000) -> BlockFolder:
    return BlockFolder(path / "blocks", most=most, most_waiting=most_waiting)


async def whole(blocks: BlockFolder, *names: bytes) -> bytes:
    return b"".join([piece async for piece in blocks.read(UPLOAD, names)])


def _leads_to(descriptor: str, folder: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(folder))
    except FileNotFoundError:
        return False


async def emptied(path: Path) -> None:
    async with asyncio.timeout(30):
        while any((path / "blocks").iterdir()):  # noqa: ASYNC110  # a thread that tells nobody removes them
            await asyncio.sleep(0.005)


async def test_many_small_blocks_are_read_in_the_order_of_the_list(tmp_path: Path) -> None:
    blocks = folder(tmp_path)
    names = [b"%d" % number for number in range(1200)]
    for name in names:
        await blocks.write(UPLOAD, name, pieces(name, b","), md5=None)
    names.reverse()
    assert await whole(blocks, *names) == b"".join(name + b"," for name in names)
    assert sum(await blocks.sizes(UPLOAD, names)) == sum(len(name) + 1 for name in names)


async def test_a_block_may_be_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    blocks = folder(tmp_path, most=10_000_000, most_waiting=10_000_000)
    large = bytes(range(256)) * 10_000
    await blocks.write(UPLOAD, b"large", pieces(large[:1_500_000], large[1_500_000:]), md5=None)
    await blocks.write(UPLOAD, b"empty", pieces(), md5=None)
    assert await whole(blocks, b"empty", b"large", b"empty") == large


async def test_what_is_dropped_is_gone_at_once_and_removed_behind_it(tmp_path: Path) -> None:
    blocks = folder(tmp_path)
    await blocks.write(UPLOAD, b"a", pieces(b"1"), md5=None)
    await blocks.drop(UPLOAD)
    assert not (tmp_path / "blocks" / UPLOAD).exists()
    with pytest.raises(Invalid, match="upload.block_unknown"):
        await blocks.sizes(UPLOAD, [b"a"])
    assert await blocks.uploads() == []
    await emptied(tmp_path)


async def test_what_was_being_removed_when_the_hub_ended_is_removed_by_the_next(tmp_path: Path) -> None:
    blocks = folder(tmp_path)
    await blocks.write(UPLOAD, b"a", pieces(b"1"), md5=None)
    blocks.close()
    await blocks.drop(UPLOAD)
    again = folder(tmp_path)
    assert await again.uploads() == []
    await emptied(tmp_path)


async def test_a_block_that_comes_while_its_upload_is_dropped_is_counted_only_if_it_is_there(tmp_path: Path) -> None:
    blocks = folder(tmp_path, most_waiting=2000)

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 600
        await asyncio.sleep(0)
        yield b"y" * 600

    for _ in range(30):
        writing = asyncio.create_task(blocks.write(UPLOAD, b"a", slow(), md5=None))
        await asyncio.sleep(0.001)
        await blocks.drop(UPLOAD)
        (outcome,) = await asyncio.gather(writing, return_exceptions=True)
        assert outcome is None or (isinstance(outcome, Unavailable) and outcome.reason == "file.store")
        try:
            assert await blocks.sizes(UPLOAD, [b"a"]) == [1200]
        except Invalid:
            assert not any((tmp_path / "blocks" / UPLOAD).glob("*"))
        else:
            assert await whole(blocks, b"a") == b"x" * 600 + b"y" * 600
        await blocks.drop(UPLOAD)
    # Nothing is counted any more: there is room for all that may wait.
    await blocks.write(UPLOAD, b"full", pieces(b"z" * 2000), md5=None)


async def test_who_goes_away_while_a_block_is_begun_leaves_no_open_file(tmp_path: Path) -> None:
    blocks = folder(tmp_path)
    await blocks.write(UPLOAD, b"a", pieces(b"1"), md5=None)
    for turns in range(8):
        writing = asyncio.create_task(blocks.write(UPLOAD, b"b", pieces(b"2"), md5=None))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    # A draft is unlinked by then; its descriptor would still lead to it.
    assert [each for each in os.listdir("/proc/self/fd") if _leads_to(each, tmp_path)] == []


async def test_an_earlier_run_leaves_its_blocks_and_no_drafts(tmp_path: Path) -> None:
    blocks = folder(tmp_path)
    await blocks.write(UPLOAD, b"a", pieces(b"12"), md5=None)
    (tmp_path / "blocks" / UPLOAD / "left.draft").write_bytes(b"half")
    again = folder(tmp_path, most=4)
    assert await again.sizes(UPLOAD, [b"a", b"a"]) == [2, 2]
    with pytest.raises(TooLarge, match="upload.size"):
        await again.write(UPLOAD, b"b", pieces(b"345"), md5=None)
    assert [file.suffix for file in (tmp_path / "blocks" / UPLOAD).iterdir()] == [""]
