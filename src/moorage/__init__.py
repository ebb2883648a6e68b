"""A self-hosted IoT hub, X.509 first."""
