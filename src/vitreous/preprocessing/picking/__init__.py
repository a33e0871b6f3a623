"""Particles found on micrographs.

prepared (a micrograph made small, its background taken off), references (blobs, class averages or
projections that are looked for), matching (correlation with each under local normalisation), peaks
(places, apart from each other), contamination (where no particle is), decoys (the threshold at a
false discovery rate), pick (all of it).
"""
