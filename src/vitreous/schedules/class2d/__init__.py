"""2D classification: online EM over mini-batches, then passes over all particles."""
