"""Requests that nobody wrote, for every operation of the OpenAPI document; see `campaign`."""
