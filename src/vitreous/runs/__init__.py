"""What a run writes to, and is resumed from."""
