"""From movies to particles: one module for each command."""
