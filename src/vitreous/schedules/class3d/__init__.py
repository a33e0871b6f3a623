"""Classification against references."""
