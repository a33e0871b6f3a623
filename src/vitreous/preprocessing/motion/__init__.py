"""Motion of a movie's frames, and their sums without it.

frames (corrected by gain and defects, and transformed), spectra (what is signal in them), alignment
(displacements of the whole), smoothness (what motion is likely), local (displacements of patches),
field (all displacements), dose_weighting, summation (frames put back and added up), gain (its
orientation), correct (all of it).
"""
