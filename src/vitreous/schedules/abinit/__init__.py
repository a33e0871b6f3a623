"""Ab initio."""
