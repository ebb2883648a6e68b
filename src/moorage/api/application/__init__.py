"""Our own API of the application, for what IoT Central's has no place for (contract/central.md 25)."""
