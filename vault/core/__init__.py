"""The pure core: values in, a value or a refusal out. No file, network, clock, randomness or environment."""
