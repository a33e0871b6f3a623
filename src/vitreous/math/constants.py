"""Numbers that several modules must agree on."""

LOWEST = -1e30
"""Log weight of what cannot be: finite, so that sums and differences stay numbers."""
