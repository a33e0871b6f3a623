"""From rough poses to fine ones, and the maps that follow."""
