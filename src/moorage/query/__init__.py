"""The query language of IoT Hub: text to syntax tree, and what a tree means for a row (contract/services.md 2.9)."""
