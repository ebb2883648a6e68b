"""REST endpoints: parse, call, answer."""
