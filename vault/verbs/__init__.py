"""The verbs of `Vault`, by what they are about; `vault.vault.Vault` inherits them all."""
