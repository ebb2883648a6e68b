"""Device models in DTDL v2, as values."""
