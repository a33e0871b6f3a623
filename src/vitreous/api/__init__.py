"""The commands as Python functions; docs/api.md shows each of them.

``run_NAME`` takes the configuration that the command's options are made from, reads files and
writes what the command writes.  NAME is what it wraps: a function on arrays and tables.
``abinit``, ``refine``, ``reconstruct``, ``ctf_refine`` and ``model_check`` take the options by
themselves, too, tables and arrays in place of files, and return a :class:`JobResult`.  ``plan``,
``demo`` and ``import_data`` (the command ``import``) go from files to files, so theirs are one and
the same.  The verbs of ``vitreous map`` are in :mod:`vitreous.api.map`.
"""

from __future__ import annotations

from vitreous.api import map
from vitreous.api.result import JobResult, MapFile, as_function
from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig, Classify3dOptions
from vitreous.config.classify2d import Class2dConfig, Class2dOptions
from vitreous.config.ctf import CtfRefineConfig
from vitreous.config.ctf_estimation import CtfConfig
from vitreous.config.extract import ExtractConfig
from vitreous.config.maps import (
    AnisotropyConfig,
    CompareConfig,
    DepositConfig,
    LocalResolutionConfig,
    ModelCheckConfig,
    PostprocessConfig,
    ReconstructConfig,
    SymmetryConfig,
)
from vitreous.config.movies import ImportConfig, MotionConfig
from vitreous.config.particles import (
    CheckConfig,
    ConvertConfig,
    Criteria,
    ExpandSymmetryConfig,
    SelectConfig,
    SubtractConfig,
    SubtractOptions,
)
from vitreous.config.picking import PickConfig
from vitreous.config.process import ProcessConfig
from vitreous.config.refine import RefineConfig
from vitreous.config.simulate import DemoConfig, SimulateConfig
from vitreous.errors import VitreousError
from vitreous.imaging.phantom import built_in_phantom
from vitreous.io.mrc import read_map, write_map
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.check.check import run_check
from vitreous.jobs.check.preflight import preflight as check
from vitreous.jobs.class2d.class2d import class2d, run_class2d
from vitreous.jobs.classify3d.classify3d import classify3d, run_classify3d
from vitreous.jobs.compare import compare, run_compare
from vitreous.jobs.ctf.ctf_refine import run_ctf_refine
from vitreous.jobs.ctf_estimation.ctf import run_ctf
from vitreous.jobs.demo import run_demo
from vitreous.jobs.extract.extract import run_extract
from vitreous.jobs.maps.anisotropy import run_anisotropy
from vitreous.jobs.maps.deposit import run_deposit
from vitreous.jobs.maps.half_maps import HalfMaps, Mask, open_half_maps
from vitreous.jobs.maps.local_resolution import local_resolution, run_local_resolution
from vitreous.jobs.maps.model_check import run_model_check
from vitreous.jobs.maps.postprocess import judge_half_maps as postprocess
from vitreous.jobs.maps.postprocess import run_postprocess
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.maps.symmetry import run_symmetry
from vitreous.jobs.micrographs.import_data import run_import_data
from vitreous.jobs.micrographs.motion import run_motion
from vitreous.jobs.particles.convert import run_convert
from vitreous.jobs.particles.expand_symmetry import run_expand_symmetry
from vitreous.jobs.particles.select import run_select
from vitreous.jobs.particles.steps import select
from vitreous.jobs.particles.subtract import run_subtract
from vitreous.jobs.particles.subtraction import subtract
from vitreous.jobs.picking.pick import run_pick
from vitreous.jobs.plan.plan import Plan, run_plan
from vitreous.jobs.process.process import run_process
from vitreous.jobs.refine.refine import run_refine
from vitreous.jobs.simulate import run_simulate, simulate
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.stack import open_images
from vitreous.particles.symmetry_expansion import expand_symmetry
from vitreous.preprocessing.motion.correct import Exposure, MotionSettings
from vitreous.preprocessing.motion.correct import correct_motion as motion
from vitreous.preprocessing.motion.frames import Detector
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.relion_job import run_external
from vitreous.schedules.class3d.references import Reference, read_reference
from vitreous.validate.anisotropy import conical_fsc as anisotropy
from vitreous.validate.local_resolution import local_window
from vitreous.validate.symmetry.point_groups import find_symmetry as symmetry

abinit = as_function(run_abinit, AbinitConfig)
reconstruct = as_function(run_reconstruct, ReconstructConfig)
model_check = as_function(run_model_check, ModelCheckConfig)
refine = as_function(run_refine, RefineConfig)
ctf_refine = as_function(run_ctf_refine, CtfRefineConfig)
ctf = as_function(run_ctf, CtfConfig)
pick = as_function(run_pick, PickConfig)
extract = as_function(run_extract, ExtractConfig)
process = as_function(run_process, ProcessConfig)
demo = run_demo
plan = run_plan
convert = run_convert
deposit = run_deposit
import_data = run_import_data
external = run_external

__all__ = [
    "AbinitConfig",
    "AnisotropyConfig",
    "CheckConfig",
    "Checkpoint",
    "Class2dConfig",
    "Class2dOptions",
    "Classify3dConfig",
    "Classify3dOptions",
    "CompareConfig",
    "ConvertConfig",
    "Criteria",
    "CtfConfig",
    "CtfRefineConfig",
    "DemoConfig",
    "DepositConfig",
    "Detector",
    "ExpandSymmetryConfig",
    "Exposure",
    "ExtractConfig",
    "HalfMaps",
    "ImportConfig",
    "JobResult",
    "LocalResolutionConfig",
    "MapFile",
    "Mask",
    "ModelCheckConfig",
    "MotionConfig",
    "MotionSettings",
    "PickConfig",
    "Plan",
    "PostprocessConfig",
    "ProcessConfig",
    "ReconstructConfig",
    "Reference",
    "RefineConfig",
    "SelectConfig",
    "SimulateConfig",
    "SubtractConfig",
    "SubtractOptions",
    "SymmetryConfig",
    "VitreousError",
    "abinit",
    "anisotropy",
    "built_in_phantom",
    "check",
    "class2d",
    "classify3d",
    "compare",
    "convert",
    "ctf",
    "ctf_refine",
    "demo",
    "deposit",
    "expand_symmetry",
    "external",
    "extract",
    "import_data",
    "local_resolution",
    "local_window",
    "map",
    "model_check",
    "motion",
    "open_half_maps",
    "open_images",
    "pick",
    "plan",
    "postprocess",
    "process",
    "read_map",
    "read_particles",
    "read_reference",
    "reconstruct",
    "refine",
    "run_abinit",
    "run_anisotropy",
    "run_check",
    "run_class2d",
    "run_classify3d",
    "run_compare",
    "run_convert",
    "run_ctf",
    "run_ctf_refine",
    "run_demo",
    "run_deposit",
    "run_expand_symmetry",
    "run_external",
    "run_extract",
    "run_import_data",
    "run_local_resolution",
    "run_model_check",
    "run_motion",
    "run_pick",
    "run_plan",
    "run_postprocess",
    "run_process",
    "run_reconstruct",
    "run_refine",
    "run_select",
    "run_simulate",
    "run_subtract",
    "run_symmetry",
    "select",
    "simulate",
    "subtract",
    "symmetry",
    "write_map",
    "write_particles",
]
