"""Refinement of two halves."""
