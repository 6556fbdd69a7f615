"""Experiments: the trouble without a pattern, then the pattern, in figures of this machine."""
