"""The application for people, as a browser asks for it."""
