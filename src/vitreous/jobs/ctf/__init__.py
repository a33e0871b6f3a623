"""The optics refined against a map: defocus, astigmatism, beam tilt, magnification."""
