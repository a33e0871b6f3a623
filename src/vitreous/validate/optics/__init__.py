"""Fits of the optics against a map."""
