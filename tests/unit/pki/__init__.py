"""Certificates, chains, issuing and proof of possession."""
