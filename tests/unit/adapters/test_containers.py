"""Folders as containers: what was begun is finished whole, or told to be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.adapters.containers import BlobContainers
from moorage.adapters.egress import Egress
from moorage.errors import Invalid
from moorage.ids import Secret


async def test_a_block_behind_what_is_gone_makes_no_file_with_a_hole(tmp_path: Path) -> None:
    containers, folder = BlobContainers(Egress(), tmp_path), Secret(tmp_path.as_uri())
    await containers.put_block(folder, "devices.txt", number=0, offset=0, data=b"one\n")
    await containers.commit(folder, "devices.txt", blocks=1, size=4)
    # The hub ended before it wrote that down, and a device was made since: it goes on behind its last block.
    with pytest.raises(Invalid) as no:
        await containers.put_block(folder, "devices.txt", number=1, offset=4, data=b"two\n")
        await containers.commit(folder, "devices.txt", blocks=2, size=8)
    assert no.value.reason == "container.changed"
    assert (tmp_path / "devices.txt").read_bytes() == b"one\n"


def test_a_password_in_a_containers_uri_is_refused_and_not_shown() -> None:
    with pytest.raises(Invalid) as no:
        BlobContainers(Egress()).check(Secret("https://me:open-sesame@a.example/c"), "devices.txt")
    assert no.value.reason == "container.uri" and "open-sesame" not in str(no.value)
