"""Checkpoint families: how each one's names and config map to the one Transformer; for weights."""
