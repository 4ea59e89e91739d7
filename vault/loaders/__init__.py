"""Reader and writer of each format, side by side; every reader takes an `Admitted` and nothing else."""
