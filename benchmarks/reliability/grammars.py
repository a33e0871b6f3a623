"""Files and conditions made from scratch: right in their grammar, odd in what they hold."""

from __future__ import annotations

from random import Random

from mutations import NUMBERS, WORDS

_COLUMNS = (
    *("rlnImageName", "rlnOpticsGroup", "rlnAngleRot", "rlnDefocusU", "rlnClassNumber"),
    *("rlnRandomSubset", "rlnMicrographName", "rlnImagePixelSize", "rlnImageSize", "rlnVoltage"),
    *("rlnCtfBfactor", "rlnCtfPremultiplied", "rlnOriginXAngst", "rlnMtfValue", "_", "", "x y"),
    *("rlnResolutionInversePixel", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnTomoName"),
)
_CELLS = (
    *("1", "2", "0.5", "-3.25", "1.000000", "000001@stack.mrcs", "9@stack.mrcs", "stack.mrcs"),
    *("0@stack.mrcs", "-1@stack.mrcs", "x@y@z", "@", "''", '"a b"', "'it''s'", "null", "1e999"),
)


def _text(word: bytes | str) -> str:
    return word if isinstance(word, str) else word.decode("latin-1")


def _cell(random: Random) -> str:
    if random.random() < 0.8:
        return random.choice(_CELLS)
    return _text(random.choice((*NUMBERS, *WORDS)))


def star(random: Random) -> bytes:
    """Blocks with any columns and cells, most of them of the right width."""
    lines = []
    for _ in range(random.randrange(4)):
        lines.append("data_" + random.choice(("optics", "particles", "", "x", "model_classes")))
        columns = random.sample(_COLUMNS, random.randrange(1, 9))
        if random.random() < 0.3:
            lines += [f"_{name} {_cell(random)}" for name in columns]
            continue
        lines.append("loop_")
        lines += [f"_{name} #{place}" for place, name in enumerate(columns, 1)]
        for _ in range(random.randrange(6)):
            width = len(columns) + (random.random() < 0.05)
            lines.append(" ".join(_cell(random) for _ in range(width)))
        lines.append("")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def condition(random: Random, depth: int = 0) -> bytes:
    """A condition on columns, now and then deep, long or without sense."""
    if depth == 0 and random.random() < 0.03:
        many = random.choice((50, 300, 3000))
        kind = random.choice(("(", "-", "not ", "abs(", "x+", "x and ", "1<", "in (", "~", "x**"))
        return (kind * many + "x").encode()
    return _condition(random, random.randrange(1, 6)).encode("utf-8", "surrogatepass")


def _condition(random: Random, depth: int) -> str:
    if depth == 0:
        names = ("rlnClassNumber", "_rlnDefocusU", "rlnImageName", "rlnNan", "rlnNothing", "x y")
        plain = (*names, "1", "2.5", "'a'", '""', "1e400", "True", "None", "1j", "b'x'", "...")
        return random.choice((*plain, _text(random.choice((*NUMBERS, *WORDS)))))
    parts = [_condition(random, depth - 1) for _ in range(3)]
    binary = ("<", "<=", ">", "==", "!=", "in", "not in", "is", "+", "-", "*", "/", "//", "%", "**")
    forms = (
        *(f"{parts[0]} {random.choice(binary)} {parts[1]}" for _ in range(4)),
        *(f"({parts[0]}) {word} ({parts[1]})" for word in ("and", "or")),
        f"not {parts[0]}",
        f"{parts[0]} in ({', '.join(parts)})",
        f"rlnClassNumber in [{', '.join(parts)}]",
        f"{parts[0]} < {parts[1]} < {parts[2]}",
        f"abs({parts[0]})",
        f"{parts[0]}({parts[1]})",
        f"{parts[0]}[{parts[1]}]",
        f"-{parts[0]}",
        f"f'{{{parts[0]}}}'",
        f"lambda: {parts[0]}",
    )
    return random.choice(forms)


def pdb(random: Random) -> bytes:
    """Atoms in columns that hold any numbers and names."""
    lines = []
    for serial in range(random.randrange(8)):
        numbers = [random.uniform(-99, 99) for _ in range(3)]
        line = (
            f"{random.choice(('ATOM  ', 'HETATM', 'TER   ', 'MODEL ', 'CRYST1', 'LINK  '))}"
            f"{serial:5d} {random.choice((' CA ', 'FE  ', ' X  ', '    '))}"
            f"{random.choice(' AB')}{random.choice(('ALA', 'HOH', '  X', '   '))} "
            f"{random.choice('AB ')}{random.randrange(-99, 9999):4d}    "
            + "".join(f"{number:8.3f}" for number in numbers)
            + f"{random.choice((1, 0, -1)):6.2f}{random.uniform(0, 99):6.2f}          "
            f"{random.choice((' C', 'FE', 'XX', '  ', ' D'))}"
        )
        at = random.randrange(len(line))
        line = line[:at] + _cell(random) + line[at:] if random.random() < 0.2 else line
        lines.append(line)
    return "\n".join([*lines, random.choice(("END", "ENDMDL", ""))]).encode("latin-1", "replace")


def mmcif(random: Random) -> bytes:
    """A loop of atoms, some of whose items are missing, odd or twice there."""
    items = [
        *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
        *("label_asym_id", "label_entity_id", "label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z"),
        *("occupancy", "B_iso_or_equiv", "auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num"),
    ]
    usual = [
        "ATOM",
        "1",
        "C",
        "CA",
        ".",
        "ALA",
        "A",
        "1",
        "1",
        "1.5",
        "2.5",
        "3.5",
        "1.0",
        "20",
        "1",
        "A",
        "1",
    ]
    if random.random() < 0.4:
        drop = random.randrange(len(items))
        del items[drop], usual[drop]
    lines = ["data_x", "loop_", *(f"_atom_site.{item}" for item in items)]
    for _ in range(random.randrange(1, 6)):
        row = [_cell(random) if random.random() < 0.1 else word for word in usual]
        lines.append(" ".join(row))
    return "\n".join(lines).encode("utf-8", "surrogatepass")
