"""Device and module identities and how each authenticates."""
