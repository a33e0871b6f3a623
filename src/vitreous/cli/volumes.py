"""Tools on maps: ``vitreous map``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from vitreous.cli.app import angstrom, app, progress
from vitreous.config import volumes as verbs
from vitreous.report.terminal import print_lines, print_view

tools = App(
    name="map",
    help="Tools on maps: filters, grids, masks, decoys, fitting, correlation, headers.",
    default_parameter=Parameter(negative_iterable=()),
)
app.command(tools)

_WRITERS: dict[str, type[verbs.ChangeConfig] | type[verbs.DecoyConfig]] = {
    "lowpass": verbs.LowpassConfig,
    "highpass": verbs.HighpassConfig,
    "bfactor": verbs.BfactorConfig,
    "scale": verbs.ScaleConfig,
    "invert": verbs.InvertConfig,
    "shift": verbs.ShiftConfig,
    "recentre": verbs.RecentreConfig,
    "rotate": verbs.RotateConfig,
    "flip-hand": verbs.FlipHandConfig,
    "symmetrise": verbs.SymmetriseConfig,
    "resample": verbs.ResampleConfig,
    "crop": verbs.CropConfig,
    "pad": verbs.PadConfig,
    "mask": verbs.MaskConfig,
    "convert": verbs.ConvertConfig,
    "sphere": verbs.SphereConfig,
    "noise": verbs.NoiseConfig,
}
"""The verbs that write maps and say little."""


def _write(config: verbs.ChangeConfig | verbs.DecoyConfig) -> None:
    from vitreous.jobs.volumes.change import run_change
    from vitreous.jobs.volumes.decoys import run_decoy

    made = [run_decoy(config)] if isinstance(config, verbs.DecoyConfig) else run_change(config)
    for written in made:
        print_lines(f"{written.path}: {written.said}" if written.said else str(written.path))


def _add(name: str, kind: type[verbs.ChangeConfig] | type[verbs.DecoyConfig]) -> None:
    """A verb whose help is its configuration's."""

    def verb(config: verbs.ChangeConfig | verbs.DecoyConfig) -> None:
        _write(config)

    verb.__doc__ = (kind.__doc__ or "").partition("\n")[0]
    verb.__annotations__ = {"config": Annotated[kind, Parameter(name="*")]}
    tools.command(verb, name=name)


for _name, _kind in _WRITERS.items():
    _add(_name, _kind)


@tools.command
def fit(config: Annotated[verbs.FitConfig, Parameter(name="*")]) -> None:
    """Fit a map or a model into a map as a rigid body, from wherever it is."""
    from vitreous.jobs.volumes.fit import run_fit

    with progress() as on_event:
        found = run_fit(config, on_event)
    rows = [
        " ".join(f"{value:10.5f}" for value in (*row, step))
        for row, step in zip(found.matrix, found.shift, strict=True)
    ]
    print_lines(
        f"Correlation at {found.resolution:g} A: {found.as_it_is:.4f}; of the other hand: "
        f"{found.mirror_image:.4f}",
        "Rotation and shift (A):",
        *rows,
        *(f"Warning: {warning}" for warning in found.warnings),
        f"Fitted{' and mirrored' if found.mirrored else ''}: {found.out}",
    )


@tools.command
def fsc(config: Annotated[verbs.FscConfig, Parameter(name="*")]) -> None:
    """Fourier shell correlation of two maps on one grid."""
    from vitreous.jobs.volumes.correlate import run_fsc

    found = run_fsc(config)
    print_lines("shell  resolution (A)      FSC")
    for shell, (frequency, value) in enumerate(zip(found.frequency, found.fsc, strict=True)):
        resolution = f"{1 / frequency:.3f}" if shell else "inf"
        print_lines(f"{shell:5d}  {resolution:>14}  {value:7.4f}")
    print_lines(
        f"FSC 0.5: {angstrom(found.resolution_05)}",
        f"FSC 0.143: {angstrom(found.resolution_0143)}",
        *(f"Warning: {warning}" for warning in found.warnings),
    )


@tools.command
def info(config: Annotated[verbs.InfoConfig, Parameter(name="*")]) -> None:
    """Header, statistics and what is odd about maps or stacks."""
    from vitreous.jobs.volumes.info import run_info

    for found in run_info(config):
        header, numbers = found.header, found.statistics
        table = Table(title=str(header.path), title_justify="left", show_header=False, box=None)
        for name, value in (
            ("columns, rows, sections", " x ".join(map(str, header.shape[::-1]))),
            ("mode", f"{header.mode} ({header.dtype.name})"),
            ("pixel size (A)", " ".join(f"{size:g}" for size in header.pixel_size)),
            ("origin (A)", " ".join(f"{place:g}" for place in header.origin)),
            ("minimum, maximum", f"{numbers.minimum:.6g}, {numbers.maximum:.6g}"),
            ("mean, deviation", f"{numbers.mean:.6g}, {numbers.standard_deviation:.6g}"),
        ):
            table.add_row(name, value)
        for odd in found.odd:
            table.add_row("odd", odd, style="yellow")
        print_view(table)
