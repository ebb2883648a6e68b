"""TLS over memory buffers."""
