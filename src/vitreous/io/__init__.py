"""Files in and out: MRC, STAR and atomic models."""
