"""Where a particle may lie, and how well each place explains it."""
