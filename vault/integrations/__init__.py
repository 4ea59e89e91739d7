"""Ways into the vault from other tools; nothing else imports them, and each imports its tool."""
