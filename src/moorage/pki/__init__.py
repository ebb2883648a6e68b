"""X.509 as values: parsing, issuing, path policy, proof of possession."""
