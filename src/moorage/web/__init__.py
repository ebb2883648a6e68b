"""The application: pages for people."""
