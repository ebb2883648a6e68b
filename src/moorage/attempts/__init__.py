"""Every attempt to get in, and why it was refused."""
