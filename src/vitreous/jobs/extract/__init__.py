"""Particle images cut out of micrographs: ``vitreous extract``."""
