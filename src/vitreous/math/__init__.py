"""Fourier transforms, rotations, grids on SO(3) and point groups."""
