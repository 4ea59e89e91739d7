"""The migrations of the registry index, run when an index is opened; they need no alembic.ini."""
