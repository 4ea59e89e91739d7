"""The registry index: what a vault holds, in a database; made from the store, and never believed."""
