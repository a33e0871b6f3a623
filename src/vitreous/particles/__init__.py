"""The particle table and its image stacks."""
