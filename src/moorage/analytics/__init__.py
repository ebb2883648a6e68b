"""What devices sent, as series; explorer and dashboards."""
