"""Particles found on micrographs: ``vitreous pick``."""
