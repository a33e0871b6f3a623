"""Particles found on micrographs.

prepared (a micrograph made small, its background taken off), blobs and balls (filters of a size),
references (class averages or projections that are looked for), matching (correlation with each
under local normalisation), peaks (places, apart from each other), contamination (where no particle
is, and what none scores), decoys (the threshold at a false discovery rate), diameter (found), pick
(all of it).
"""
