"""A bounded share of `make fuzz` (tests/fuzz): some generated requests for every operation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.api.served import served_hub
from tests.fuzz.campaign import Campaign
from tests.fuzz.requests import Operation, generated, spoiled
from tests.fuzz.wire import NO_ANSWER, Wire, written

# Requests to each operation, of which one in six comes from the document and the others are made from it.
_COUNT: Final = 12
_SPOIL: Final = 6
# RFC 9112 6.1 and RFC 9110 15.6.6: a transfer coding that is not understood, a version of HTTP that is none.
_OF_HTTP: Final = (501, 505)


@pytest.mark.timeout(300)
async def test_any_request_gets_the_answer_that_the_document_promises(tmp_path: Path) -> None:
    async with served_hub(tmp_path) as hub:
        campaign = Campaign(hub, count=_COUNT, spoil=_SPOIL, seed=1)
        await campaign.run(campaign.operations())
        assert campaign.findings.requests > len(hub.routes) * 4
    assert not campaign.findings.wrong, campaign.findings.report()


@pytest.mark.timeout(300)
async def test_any_bytes_on_a_socket_get_an_answer_or_a_closed_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served_hub(tmp_path) as hub:
        info = hub.app.info()
        wire, some = Wire(info.https_port, info.ca_bundle), asyncio.Semaphore(32)

        async def ask(request: bytes) -> tuple[int, bytes]:
            async with some:
                return await wire.ask(request, patience_s=1.0), request

        operations = Campaign(hub, count=1, spoil=1, seed=0).operations()
        requests = await asyncio.to_thread(lambda: list(_requests(operations, (hub.owner(), None))))
        answers = await asyncio.gather(*(ask(request) for request in requests))
    for status, request in answers:
        assert status < 500 or status in _OF_HTTP or b"/readyz" in request, (status, request[:2000])
    silent = [request for status, request in answers if status == NO_ANSWER]
    assert len(silent) < len(answers) / 4
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def _requests(operations: Sequence[Operation], credentials: Sequence[str | None]) -> Iterator[bytes]:
    for operation in operations:
        chance = random.Random(operation.label)
        for sent in generated(operation, 1, names={}, chance=chance):
            for credential in credentials:
                yield written(spoiled(sent, chance), operation.method.upper(), credential, chance)
