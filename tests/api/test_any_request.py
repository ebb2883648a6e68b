"""A bounded share of `make fuzz` (tests/fuzz): some generated requests for every operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.served import served_hub
from tests.fuzz.campaign import Campaign

# Requests to each operation, of which one in four comes from the document and the others are made from it.
_COUNT = 32


@pytest.mark.timeout(300)
async def test_any_request_gets_the_answer_that_the_document_promises(tmp_path: Path) -> None:
    async with served_hub(tmp_path) as hub:
        campaign = Campaign(hub, count=_COUNT, spoil=4, seed=1)
        await campaign.run(campaign.operations())
        assert campaign.findings.requests > len(hub.routes) * 4
    assert not campaign.findings.wrong, campaign.findings.report()
