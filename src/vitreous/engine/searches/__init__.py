"""Ways to search the poses of particles."""
