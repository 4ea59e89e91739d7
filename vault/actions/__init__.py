"""What the verbs of `vault.Vault` do: the I/O between the core's steps."""
