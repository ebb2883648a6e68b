"""The registry on SQLite."""
