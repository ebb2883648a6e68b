"""What `moorage up` does to a folder before it is its data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.cli import main


def test_a_folder_that_others_use_stays_open_to_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "home page"
    folder.mkdir(mode=0o755)
    (folder / "index.html").touch()
    assert (
        main(
            [
                "up",
                "--data",
                str(folder),
                "--mqtt-port",
                "0",
                "--https-port",
                "0",
                "--amqp-port",
                "0",
                "--amqp-plain-port",
                "0",
                "--web-port",
                "0",
            ]
        )
        == 1
    )
    told = capsys.readouterr().err
    assert told.startswith("data.not_ours: ")
    assert "'index.html'" in told
    assert f"moorage up --data '{folder}/moorage'" in told
    assert folder.stat().st_mode & 0o777 == 0o755
    assert [file.name for file in folder.iterdir()] == ["index.html"]
