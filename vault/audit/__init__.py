"""The audit log: records on their way into it, its files in the store, and what is asked of it."""
