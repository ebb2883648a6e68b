from __future__ import annotations

import pytest

from moorage.cli.root import COMMANDS as REAL
from moorage.web.advice import COMMANDS, advice


def test_every_command_is_known_as_one() -> None:
    assert sorted(COMMANDS) == sorted(REAL)


@pytest.mark.parametrize(
    ("fix", "parts"),
    [
        ("moorage ca list", [("moorage ca list", True)]),
        ("set the clock of this machine", [("set the clock of this machine", False)]),
        (
            "configure the device with its pump_fullchain.pem, or register the intermediate: moorage ca add line.pem",
            [
                ("configure the device with its pump_fullchain.pem, or register the intermediate: ", False),
                ("moorage ca add line.pem", True),
            ],
        ),
        (
            "moorage cert intermediate 'Line 7, B' --issuer CA, then moorage cert device p1 --force; all of it does",
            [
                ("moorage cert intermediate 'Line 7, B' --issuer CA", True),
                (", then ", False),
                ("moorage cert device p1 --force", True),
                ("; all of it does", False),
            ],
        ),
        ("moorage enrollment-group show line-7", [("moorage enrollment-group show line-7", True)]),
        ("stop the other moorage, or use --data", [("stop the other moorage, or use --data", False)]),
        ("install the moorage that last used it", [("install the moorage that last used it", False)]),
        ("", []),
    ],
)
def test_commands_are_told_from_sentences(fix: str, parts: list[tuple[str, bool]]) -> None:
    assert advice(fix) == parts
