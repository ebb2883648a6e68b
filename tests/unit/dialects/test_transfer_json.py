"""Import and export jobs as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from moorage.dialects.transfer_json import transfer_json
from moorage.hub.transfer_model import Transfer
from moorage.ids import DEFAULT_HUB, Secret


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?sv=2020-02-10&sp=rw&sig=sesame", "?sv=2020-02-10&sp=rw&sig=*****"),
        ("?SIG=sesame&sv=1", "?SIG=*****&sv=1"),
        ("?s%69g=sesame", "?s%69g=*****"),
        ("?token=sesame?sig=sesame", "?token=*****"),
        ("?sesame", "?*****"),
        ("", ""),
    ],
)
def test_of_a_containers_query_only_what_lets_nobody_in_is_shown(query: str, shown: str) -> None:
    uri = Secret("https://a.example/c" + query)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    transfer = Transfer(DEFAULT_HUB, "1", "export", "running", now, output=uri, output_blob="devices.txt")
    assert transfer_json(transfer)["outputBlobContainerUri"] == "https://a.example/c" + shown
