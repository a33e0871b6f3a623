"""What maps tell: resolution, sharpening, anisotropy, symmetry."""
