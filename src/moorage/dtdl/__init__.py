"""The Digital Twins Definition Language, version 2, with IoT Central's additions (contract/central.md 7)."""
