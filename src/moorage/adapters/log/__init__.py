"""The telemetry log on disk."""
