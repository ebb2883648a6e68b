"""Devices as the application knows them: names, templates, organisations, states, groups."""
