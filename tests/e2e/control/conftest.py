"""A hub of its own, since policies and switches are everybody's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hubs import Hub, running_hub, transfer_flags


@pytest.fixture(scope="module")
def control_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("control")
    with running_hub(folder / "hub", *transfer_flags(folder)) as hub:
        yield hub
