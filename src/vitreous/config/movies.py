"""The options of what is done with movies: the command line and its help are made from these."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vitreous.config.shared import JobOptions, MicrographOptions

_SEVERAL = Parameter(negative=())


@dataclass(frozen=True, kw_only=True)
class OpticsOptions:
    """What exposures were taken with.

    Attributes
    ----------
    pixel_size : float, optional
        Angstrom a pixel of the files; of EER movies, a pixel of the detector.
    voltage : float
        Acceleration voltage, kV.
    cs : float
        Spherical aberration, mm.
    amplitude_contrast : float
        Amplitude contrast, as a fraction.
    dose : float, optional
        Dose of a frame, e/A^2; of an EER movie's frame before frames are summed to fractions.
    gain : Path, optional
        Gain reference that frames are multiplied by (MRC or TIFF), or divided by (.gain).
    """

    pixel_size: float | None = None
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.1
    dose: float | None = None
    gain: Path | None = None


@dataclass(frozen=True)
class OfFiles(JobOptions):
    """What comes first on the command line: it must be the last base of a configuration.

    Attributes
    ----------
    files : tuple of Path
        Files, or patterns in quotes such as 'movies/*.tiff'.
    """

    files: Annotated[tuple[Path, ...], _SEVERAL]


@dataclass(frozen=True)
class OfMovies(JobOptions):
    """What comes first on the command line: it must be the last base of a configuration.

    Attributes
    ----------
    movies : tuple of Path
        A movies.star, or movies (MRC, TIFF, EER) or patterns in quotes; the options on optics are
        for the latter.
    """

    movies: Annotated[tuple[Path, ...], _SEVERAL]


@dataclass(frozen=True, kw_only=True)
class ImportConfig(OpticsOptions, OfFiles):
    """Tables of movies, micrographs, particles, coordinates or maps that lie elsewhere.

    Attributes
    ----------
    out : Path
        Folder for the table: movies.star, micrographs.star, particles.star, coordinates.star or
        maps.star.
    kind : str
        What the files are; auto tells by their names and contents.
    mtf : Path, optional
        STAR file of the detector's modulation transfer.
    group_name : str
        Name of the optics group.
    groups_by : str, optional
        Regular expression on file names, such as '_Data_[0-9]+_([0-9]+)_': files whose bracketed
        part is the same share an optics group, as those taken at one beam tilt do.
    beam_tilt_x : float
        Beam tilt along x, mrad.
    beam_tilt_y : float
        Beam tilt along y, mrad.
    micrographs : Path, optional
        Of coordinates: the STAR file of the micrographs that they lie on.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    out: Path
    kind: Literal["auto", "movies", "micrographs", "particles", "coordinates", "maps"] = "auto"
    mtf: Path | None = None
    group_name: str = "opticsGroup1"
    groups_by: str | None = None
    beam_tilt_x: float = 0.0
    beam_tilt_y: float = 0.0
    micrographs: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class MotionConfig(MicrographOptions, OpticsOptions, OfMovies):
    """Movies, corrected for motion and summed.

    Attributes
    ----------
    out : Path
        Folder for the micrographs and corrected_micrographs.star.
    pre_exposure : float
        Dose before the first frame, e/A^2.
    total_dose : float, optional
        Dose of a whole movie, e/A^2, in the place of --dose.
    dose_weighting : bool
        Weigh frames by what radiation has left of the signal, if the dose is known.
    plain : bool
        Beside the weighted micrographs write plain sums of the aligned frames, for the CTF.
    odd_even : bool
        Write sums of every other frame too, for denoising.
    local : bool
        Correct local motion too, not only that of the whole movie.
    bin : float
        Pixels of the micrographs over those of the movies; superresolution movies take 2.
    first_frame : int
        First frame used, counted from 1.
    last_frame : int, optional
        Last frame used; by default the movie's last.
    gain_rotate : int, optional
        Quarter turns of the gain reference, clockwise as relion_display shows it; by default the
        orientation is found.
    gain_flip : int, optional
        Then 0 no flip, 1 upside down, 2 left to right.
    gain_check : bool
        Stop if the gain reference leaves a pattern in the first movies that another orientation
        does not leave.
    defects : Path, optional
        Defects of the detector: a text file with x, y, width and height in each line, or an image
        that is not zero where pixels are wrong.
    fraction_dose : float
        Dose of the fractions that EER frames are summed to, e/A^2.
    eer_frames : int, optional
        Frames of each EER fraction, in the place of --fraction-dose; movies must hold a multiple.
    superresolution : bool
        Read EER movies at two by two pixels for each of the detector's.
    float16 : bool
        Write micrographs as 16-bit reals, which take half the space.
    seed : int
        Seed of the values that fill defects.
    """

    out: Path
    pre_exposure: float = 0.0
    total_dose: float | None = None
    dose_weighting: bool = True
    plain: bool = True
    odd_even: bool = False
    local: bool = True
    bin: float = 1.0
    first_frame: int = 1
    last_frame: int | None = None
    gain_rotate: Literal[0, 1, 2, 3] | None = None
    gain_flip: Literal[0, 1, 2] | None = None
    gain_check: bool = True
    defects: Path | None = None
    fraction_dose: float = 1.0
    eer_frames: int | None = None
    superresolution: bool = False
    float16: bool = False
    seed: int = 0
