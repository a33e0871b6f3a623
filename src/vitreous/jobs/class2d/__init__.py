"""The job of 2D classification."""
