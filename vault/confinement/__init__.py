"""Confine a process of our own before it touches hostile input: Landlock, seccomp, limits, no privileges."""
