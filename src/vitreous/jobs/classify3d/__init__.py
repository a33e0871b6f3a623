"""3D classification, from one reference or from several."""
