"""vitreous: single-particle cryo-EM images to 3D maps, and whether to believe them."""

__version__ = "0.1.0"
