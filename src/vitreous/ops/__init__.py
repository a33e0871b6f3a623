"""Fast twins of the readable references, tested equal to them."""
