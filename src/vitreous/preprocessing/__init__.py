"""From movies to particles: what is measured on micrographs, and what is cut out of them."""
