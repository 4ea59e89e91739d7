"""Keys that lie outside the vault: recipients, identities and what holds them."""
