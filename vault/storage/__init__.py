"""Keep objects somewhere: one adapter per kind of storage, all with the port `vault.ports.Store`."""
