"""The control plane: its SDKs as they are, and what the Azure command line sends, on a hub of its own."""
