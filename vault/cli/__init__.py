"""The command `mvault`: parse, call the vault once, print. No rule of the vault is decided here."""
