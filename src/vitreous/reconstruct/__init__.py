"""From posterior-weighted images to a map."""
