"""Particles selected, expanded under symmetry, and freed of a part of their signal."""
