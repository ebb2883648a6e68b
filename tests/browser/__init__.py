"""The parity checks of contract/central.md 26, played in a real browser beside unmodified SDKs: `make browser`."""
