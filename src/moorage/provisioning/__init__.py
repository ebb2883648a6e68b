"""Enrollments, attestation, allocation, registrations (what Azure calls DPS)."""
