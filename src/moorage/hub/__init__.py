"""Live sessions, telemetry, cloud-to-device messages, twins, direct methods."""
