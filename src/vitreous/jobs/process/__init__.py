"""The whole road from movies or micrographs to a map: ``vitreous process``."""
