"""Registered CA certificates: upload, code, proof."""
