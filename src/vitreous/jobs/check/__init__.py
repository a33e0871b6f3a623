"""What is wrong with particles, before a search is begun."""
