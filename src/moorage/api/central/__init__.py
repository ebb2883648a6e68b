"""IoT Central's REST API: `/api/...?api-version=2022-07-31` (contract/central.md 4.7, 22, 23)."""
