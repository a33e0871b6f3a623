"""The contrast transfer function of a micrograph, from its power spectrum.

periodogram (tiles, averaged over regions of the micrograph), spectrum (what of them is fitted),
model (rings of the CTF's square on a background), scan (where to begin), fit (least squares, and
how sure it is), tilt (defocus that changes over the micrograph), quality (how far the rings are
seen, ice, the verdict), estimate (all of it).
"""
