"""RELION's columns: which holds what field, in what unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitreous.particles.fields import Field
from vitreous.particles.particle_set import ParticleSet


@dataclass(frozen=True)
class Column:
    """A column that holds a field.

    Attributes
    ----------
    name : str
        Without the leading underscore; with ``{}`` in it there is one for each class, from 1.
    in_pixels : bool
        Of the particle's image; otherwise the numbers are in the field's own unit.
    """

    name: str
    in_pixels: bool = False

    @property
    def numbered(self) -> bool:
        """Whether there is one for each class."""
        return "{}" in self.name

    @property
    def first(self) -> str:
        """Its name, or that of the first class."""
        return self.name.format(1)


def _origin(axis: str) -> tuple[Column, ...]:
    return Column(f"rlnOrigin{axis}Angst"), Column(f"rlnOrigin{axis}", in_pixels=True)


def _named(**names: str) -> dict[Field[Any], tuple[Column, ...]]:
    return {getattr(ParticleSet, field): (Column(name),) for field, name in names.items()}


COLUMNS: Mapping[Field[Any], tuple[Column, ...]] = {
    **_named(rot="rlnAngleRot", tilt="rlnAngleTilt", psi="rlnAnglePsi"),
    ParticleSet.origin_x: _origin("X"),
    ParticleSet.origin_y: _origin("Y"),
    **_named(
        defocus_u="rlnDefocusU",
        defocus_v="rlnDefocusV",
        defocus_angle="rlnDefocusAngle",
        phase_shift="rlnPhaseShift",
        ctf_bfactor="rlnCtfBfactor",
        ctf_scale="rlnCtfScalefactor",
        phase_flipped="rlnCtfDataArePhaseFlipped",
        ctf_multiplied="rlnCtfDataAreCtfPremultiplied",
        half="rlnRandomSubset",
        class_number="rlnClassNumber",
        posterior="rlnMaxValueProbDistribution",
        class_posterior="vitreousClassPosterior",
        class_posteriors="vitreousClassPosterior{}",
        noise_posterior="vitreousNoiseProbability",
        junk_posterior="vitreousJunkProbability",
        log_likelihood="rlnLogLikeliContribution",
        picking_merit="rlnAutopickFigureOfMerit",
        scale="vitreousScale",
        group_scale="rlnGroupScaleCorrection",
        group_number="rlnGroupNumber",
        group_name="rlnGroupName",
        image_name="rlnImageName",
        original_image="rlnImageOriginalName",
        micrograph="rlnMicrographName",
        filament="rlnHelicalTubeID",
        x="rlnCoordinateX",
        y="rlnCoordinateY",
        micrograph_pixel_size="rlnMicrographPixelSize",
        movie_pixel_size="rlnMicrographOriginalPixelSize",
        micrograph_width="vitreousMicrographWidth",
        micrograph_height="vitreousMicrographHeight",
        shift_x="vitreousShiftX",
        shift_y="vitreousShiftY",
        centre_x="vitreousCentreX",
        centre_y="vitreousCentreY",
        centre_z="vitreousCentreZ",
        symmetry_operator="vitreousSymmetryOperator",
        image_sign="vitreousImageSign",
        uid="vitreousUid",
    ),
}
"""Columns of each field: the first there is read. The first is written in RELION 3.1's layout, the
last in that of 3.0."""

CORRECTED = {
    "flip": COLUMNS[ParticleSet.phase_flipped][0].name,
    "multiply": COLUMNS[ParticleSet.ctf_multiplied][0].name,
}
"""Columns, 1 where this was done about the CTF in the images."""

IMAGE_NAME = COLUMNS[ParticleSet.image_name][0].name

OPTICS: Mapping[str, tuple[str, ...]] = {
    "number": ("rlnOpticsGroup",),
    "name": ("rlnOpticsGroupName",),
    "pixel_size": ("rlnImagePixelSize", "rlnPixelSize", "rlnMicrographPixelSize"),
    "box": ("rlnImageSize",),
    "voltage": ("rlnVoltage",),
    "cs": ("rlnSphericalAberration",),
    "amplitude_contrast": ("rlnAmplitudeContrast",),
    "beam_tilt": ("rlnBeamTiltX", "rlnBeamTiltY"),
    "mag_matrix": ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11"),
    "odd_zernike": ("rlnOddZernike",),
    "even_zernike": ("rlnEvenZernike",),
}
"""Columns of each attribute of an optics group, in the attribute's unit: its parts, or of the pixel
size those that may hold it, of which the first there is read."""

DETECTOR_PIXEL, MAGNIFICATION = "rlnDetectorPixelSize", "rlnMagnification"
"""Micrometres, and a factor: the first over the second is the pixel size."""

CTF_COLUMNS = (
    COLUMNS[ParticleSet.defocus_u][0].name,
    *(OPTICS[name][0] for name in ("voltage", "cs", "amplitude_contrast")),
)
"""What the CTF is computed from."""

TILT_STACKS, DIMENSIONS, MIRRORED = (
    *("rlnTomoSubTomosAre2DStacks", "rlnImageDimensionality", "rlnIsFlip"),
)
OF_SUBTOMOGRAMS = ("rlnTomoName", "rlnTomoVisibleFrames", "rlnCtfImage")
"""Columns that tables of subtomograms have."""

EXPOSURE_NAMES = {"movies": "rlnMicrographMovieName", "micrographs": "rlnMicrographName"}
"""Column of the files' names in the blocks data_movies and data_micrographs."""

EXPOSURE_OPTICS: Mapping[str, tuple[str, ...]] = {
    "name": OPTICS["name"],
    "pixel_size": ("rlnMicrographOriginalPixelSize",),
    "voltage": OPTICS["voltage"],
    "cs": OPTICS["cs"],
    "amplitude_contrast": OPTICS["amplitude_contrast"],
    "beam_tilt": OPTICS["beam_tilt"],
    "micrograph_pixel_size": ("rlnMicrographPixelSize",),
    "mtf": ("rlnMtfFileName",),
    "gain": ("rlnMicrographGainName",),
    "dose": ("vitreousDosePerFrame",),
}
"""Columns of each attribute of the optics of movies and micrographs."""

CORRECTED_MICROGRAPHS = {
    "name": "rlnMicrographName",
    "plain": "rlnMicrographNameNoDW",
    "odd": "rlnMicrographNameOdd",
    "even": "rlnMicrographNameEven",
    "metadata": "rlnMicrographMetadata",
    "total": "rlnAccumMotionTotal",
    "early": "rlnAccumMotionEarly",
    "late": "rlnAccumMotionLate",
}
"""Columns of corrected_micrographs.star."""

MOTION_GENERAL = {
    "width": "rlnImageSizeX",
    "height": "rlnImageSizeY",
    "frames": "rlnImageSizeZ",
    "movie": "rlnMicrographMovieName",
    "gain": "rlnMicrographGainName",
    "defects": "rlnMicrographDefectFile",
    "binning": "rlnMicrographBinning",
    "pixel_size": "rlnMicrographOriginalPixelSize",
    "dose": "rlnMicrographDoseRate",
    "before": "rlnMicrographPreExposure",
    "voltage": "rlnVoltage",
    "first_frame": "rlnMicrographStartFrame",
    "fraction": "rlnEERGrouping",
    "upsampling": "rlnEERUpsampling",
    "model": "rlnMotionModelVersion",
}
"""Rows of data_general in the STAR file of a movie's motion."""

MOTION_COLUMNS = {
    "frame": "rlnMicrographFrameNumber",
    "shift_x": "rlnMicrographShiftX",
    "shift_y": "rlnMicrographShiftY",
    "x": "rlnCoordinateX",
    "y": "rlnCoordinateY",
    "index": "rlnMotionModelCoeffsIdx",
    "coefficient": "rlnMotionModelCoeff",
}
"""Columns of its other blocks."""

NODE = ("rlnPipeLineNodeName", "rlnPipeLineNodeTypeLabel", "rlnPipeLineNodeType")
"""Columns of a job's outputs: name, kind in RELION 4 and 5, and kind in RELION 3.1."""

JOB = ("rlnJobTypeLabel", "rlnJobIsContinue", "rlnJobIsTomo")
JOB_OPTION = ("rlnJobOptionVariable", "rlnJobOptionValue")
"""What ``job.star`` says of a job, and of each of its options."""
NAME = COLUMNS[ParticleSet.micrograph][0].name
"""Column of micrographs' names."""

DEFOCUS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift")

ESTIMATED: Mapping[str, str] = {
    "defocus_u": "rlnDefocusU",
    "defocus_v": "rlnDefocusV",
    "defocus_angle": "rlnDefocusAngle",
    "phase_shift": "rlnPhaseShift",
    "astigmatism": "rlnCtfAstigmatism",
    "merit": "rlnCtfFigureOfMerit",
    "resolution": "rlnCtfMaxResolution",
    "defocus_error": "vitreousDefocusError",
    "astigmatism_error": "vitreousAstigmatismError",
    "phase_shift_error": "vitreousPhaseShiftError",
    "tilt": "vitreousTiltAngle",
    "tilt_axis": "vitreousTiltAxis",
}
"""Columns of what is estimated of a micrograph's CTF: angstrom and degrees."""

OF_PLATES = ("phase_shift", "phase_shift_error")
"""What of it there is with a phase plate only."""

PICTURE = "rlnCtfImage"
"""Column of the picture of its spectrum beside the fit."""

INHERITED = (
    *DEFOCUS,
    *("rlnCtfBfactor", "rlnCtfScalefactor", "rlnCtfFigureOfMerit", "rlnCtfMaxResolution"),
)
"""Columns that particles have from their micrographs, beside all of our own."""

VERDICT = "vitreousCtfVerdict"
"""Column of what the fit of its CTF says of a micrograph: keep, doubtful or reject."""

LIST, HELICAL = "rlnMicrographCoordinates", "rlnHelical"
"""Column of coordinate files in a list of them, and what columns of helical segments begin with."""

X, Y, MERIT = (
    COLUMNS[field][0].name for field in (ParticleSet.x, ParticleSet.y, ParticleSet.picking_merit)
)
