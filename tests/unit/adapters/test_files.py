"""Small files and the data folder: who may read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.adapters.files import plain_file, private_folder, read_private, write_whole
from moorage.errors import Conflict


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "hub"
    folder.mkdir(parents=True, mode=0o755)
    assert mode(private_folder(folder)) == 0o700


def test_what_is_written_is_for_its_owner_alone_whatever_was_there(tmp_path: Path) -> None:
    file = tmp_path / "owner.key"
    file.write_bytes(b"old")
    file.chmod(0o666)
    write_whole(file, b"new")
    assert (file.read_bytes(), mode(file)) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_in_the_way_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"kept")
    (tmp_path / ".owner.key.new").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "owner.key", b"secret")
    assert elsewhere.read_bytes() == b"kept"


def test_what_is_put_at_a_link_is_put_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    link = tmp_path / "export.yaml"
    link.symlink_to("shared/export.yaml")
    for text in (b"first", b"second"):
        write_whole(plain_file(link), text)
        assert (link.is_symlink(), (tmp_path / "shared" / "export.yaml").read_bytes()) == (True, text)


def test_nothing_is_put_in_the_place_of_a_device_or_a_folder(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    for path in (link, Path("/dev/null"), tmp_path):
        with pytest.raises(Conflict, match="is no plain file") as refused:
            plain_file(path)
        assert refused.value.reason == "file.exists"


@pytest.mark.parametrize("before", [0o644, 0o640, 0o606, 0o600, 0o400])
def test_a_secret_that_others_may_read_is_closed_to_them_when_it_is_read(tmp_path: Path, before: int) -> None:
    file = tmp_path / "secrets.key"
    file.write_bytes(b"secret")
    file.chmod(before)
    assert read_private(file) == b"secret"
    assert mode(file) == before if not before & 0o077 else 0o600
