"""Signed, encrypted, policy-gated models over storage you already have."""
