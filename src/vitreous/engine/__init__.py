"""One pass over particles, and what every search is made of."""
