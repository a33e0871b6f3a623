"""Particle sets from cryoSPARC's .cs files, and back: the one place of its names."""
