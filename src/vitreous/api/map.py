"""The verbs of ``vitreous map`` as functions on arrays, under the verbs' names.

Maps are tensors (z, y, x); lengths are in angstrom where a pixel size is asked for, and in pixels
where none is.  ``scale`` and ``invert`` are arithmetic, and need no function.
"""

from __future__ import annotations

from vitreous.imaging.decoys import blob as sphere
from vitreous.imaging.decoys import noise_like as noise
from vitreous.imaging.envelope import mask_of_one as mask
from vitreous.imaging.filters import high_pass as highpass
from vitreous.imaging.filters import low_pass as lowpass
from vitreous.imaging.filters import with_b_factor as bfactor
from vitreous.io.density import read_density, write_density
from vitreous.jobs.volumes.change import run_change
from vitreous.jobs.volumes.correlate import run_fsc
from vitreous.jobs.volumes.decoys import run_decoy
from vitreous.jobs.volumes.fit import run_fit
from vitreous.jobs.volumes.info import run_info
from vitreous.math.fourier import crop_or_pad as crop
from vitreous.math.fourier import crop_or_pad as pad
from vitreous.math.moments import centre_of_mass
from vitreous.math.resampling import moved as shift
from vitreous.math.resampling import read_between as resample
from vitreous.validate.fsc import fsc
from vitreous.validate.symmetry.rotate import rotate_map as rotate
from vitreous.validate.symmetry.rotate import symmetrise_map as symmetrise
from vitreous.validate.truth import align as fit
from vitreous.validate.truth import mirrored as flip_hand

__all__ = [
    "bfactor",
    "centre_of_mass",
    "crop",
    "fit",
    "flip_hand",
    "fsc",
    "highpass",
    "lowpass",
    "mask",
    "noise",
    "pad",
    "read_density",
    "resample",
    "rotate",
    "run_change",
    "run_decoy",
    "run_fit",
    "run_fsc",
    "run_info",
    "shift",
    "sphere",
    "symmetrise",
    "write_density",
]
