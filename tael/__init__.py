"""tael."""
