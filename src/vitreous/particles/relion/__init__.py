"""Particle sets from STAR files of RELION 3.0, 3.1 and 5, and back: the one place of its names."""
