"""What fills the domain's ports."""
