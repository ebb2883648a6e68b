"""Generated requests for every operation of the Central API: each gets the answer that its document promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from moorage.api.routing import Route
from tests import certs
from tests.api.central.test_templates import PUMP, TEMPLATE
from tests.api.served import served_hub
from tests.fuzz.campaign import Campaign

_VERSION = "?api-version=2022-10-31-preview"
_THINGS = {
    f"/api/deviceTemplates/{PUMP}": TEMPLATE,
    "/api/devices/d1": {"template": PUMP},
    "/api/deviceGroups/g1": {
        "displayName": "Pumps",
        "filter": f'SELECT * FROM devices WHERE $template = "{PUMP}"',
    },
    "/api/enrollmentGroups/g1": {
        "displayName": "Line",
        "type": "iot",
        "attestation": {
            "type": "x509",
            "x509": {"signingCertificates": {"primary": {"certificate": certs.root("Line 7").pem()}}},
        },
    },
    "/api/jobs/g1": {
        "group": "g1",
        "data": [{"type": "property", "target": PUMP, "path": "target", "value": 1}],
    },
    "/api/dataExport/destinations/g1": {"displayName": "Hook", "type": "webhook@v1", "url": "https://example.org/"},
}


class CentralCampaign(Campaign):
    @property
    def routes(self) -> Sequence[Route]:
        return [route for route in self._hub.app.application.central.routes if route.gate != "public"]

    async def _seeded(self) -> Mapping[str, Sequence[str]]:
        for path, document in _THINGS.items():
            await self._hub.ask("PUT", path + _VERSION, document, credential=self._hub.owner())
        return {
            "id": ("d1", "g1", PUMP, "nobody"),
            "entry": ("primary", "secondary"),
            "component": ("none",),
            "telemetry": ("pressure", "none"),
            "command": ("restart", "none"),
        }


@pytest.mark.timeout(300)
async def test_any_request_gets_the_answer_that_the_document_promises(tmp_path: Path) -> None:
    async with served_hub(tmp_path) as hub:
        campaign = CentralCampaign(hub, count=3, spoil=3, seed=1)
        operations = campaign.operations()
        await campaign.run(operations)
        assert campaign.findings.requests > len(operations) * 2
        # Most of them get as far as a handler.
        assert campaign.findings.answers[404] < campaign.findings.requests / 2
    assert not campaign.findings.wrong, campaign.findings.report()
