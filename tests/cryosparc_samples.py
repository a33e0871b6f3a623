"""Columns of cryoSPARC's files, built by formulas of their own from a simulated STAR table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitreous.io.star import read_star


def matrix_of(vector: np.ndarray) -> np.ndarray:
    """Rotation by |v| about v: Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    crossed = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * crossed + (1 - np.cos(angle)) * crossed @ crossed


def vector_of(rot: float, tilt: float, psi: float) -> np.ndarray:
    """Vector of the rotation Rz(rot) Ry(tilt) Rz(psi), by a product of quaternions."""

    def about(axis: int, angle: float) -> np.ndarray:
        quaternion = np.zeros(4)
        quaternion[0] = np.cos(np.radians(angle) / 2)
        quaternion[1 + axis] = np.sin(np.radians(angle) / 2)
        return quaternion

    def times(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        vector = p[0] * q[1:] + q[0] * p[1:] + np.cross(p[1:], q[1:])
        return np.array([p[0] * q[0] - p[1:] @ q[1:], *vector])

    w, *v = times(times(about(2, rot), about(1, tilt)), about(2, psi))
    if w < 0:
        w, v = -w, [-part for part in v]
    length = np.linalg.norm(v)
    return 2 * np.arctan2(length, w) * np.array(v) / length


def cs_columns(star: Path) -> dict[str, np.ndarray]:
    """What cryoSPARC would write of a simulated STAR table."""
    blocks = read_star(star)
    table, optics = blocks["particles"].frame, blocks["optics"].frame

    def column(name: str) -> np.ndarray:
        frame = table if name in table.columns else optics
        values = frame[name].cast(float).to_numpy()
        return np.broadcast_to(values, (len(table),)).astype(np.float64)

    pixel, count = column("rlnImagePixelSize"), len(table)
    names = [name.split("@") for name in table["rlnImageName"]]
    angles = zip(*(column(f"rlnAngle{part}") for part in ("Rot", "Tilt", "Psi")), strict=True)
    shift = np.stack([column("rlnOriginXAngst"), column("rlnOriginYAngst")], 1) / pixel[:, None]
    single = {
        "blob/psize_A": pixel, "blob/sign": np.ones(count),
        "ctf/accel_kv": column("rlnVoltage"), "ctf/cs_mm": column("rlnSphericalAberration"),
        "ctf/amp_contrast": column("rlnAmplitudeContrast"),
        "ctf/df1_A": column("rlnDefocusU"), "ctf/df2_A": column("rlnDefocusV"),
        "ctf/df_angle_rad": np.radians(column("rlnDefocusAngle")),
        "ctf/phase_shift_rad": np.zeros(count),
        "alignments3D/psize_A": pixel,
    }  # fmt: skip
    box = column("rlnImageSize").astype(np.uint32)
    return {
        "uid": np.arange(count, dtype=np.uint64) * 7 + 2**63,
        "blob/path": np.array([f">{file}".encode() for _, file in names]),
        "blob/idx": np.array([int(number) - 1 for number, _ in names], np.uint32),
        "blob/shape": np.stack([box, box], axis=1),
        **{name: values.astype(np.float32) for name, values in single.items()},
        "ctf/exp_group_id": np.full(count, 4, np.uint32),
        "alignments3D/pose": np.array([vector_of(*a) for a in angles], np.float32),
        "alignments3D/shift": shift.astype(np.float32),
        "alignments3D/split": (np.arange(count) % 2).astype(np.uint32),
        "alignments3D/class": (np.arange(count) % 3).astype(np.uint32),
    }
