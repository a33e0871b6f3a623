"""From particles alone to maps and a verdict."""
