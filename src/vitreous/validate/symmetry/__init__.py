"""Point groups of maps and of posed particles."""
