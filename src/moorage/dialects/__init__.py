"""The words devices and SDKs use, to and from our operations."""
