"""Where the configuration files lie: conf/, and the sweeps/ of the package and of the project."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _folder(name: str) -> Path:
    """conf/ and sweeps/ lie next to the package in a checkout, inside it when installed as a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


CONF = _folder("conf")
SWEEPS = _folder("sweeps")
# Where sweeps are looked for, in this order; --config-dir adds its own after the first.
_SWEEP_FOLDERS = [Path("sweeps"), SWEEPS]


def use_sweeps_of(folder: Path) -> None:
    """Look for sweeps in FOLDER/sweeps too."""
    _SWEEP_FOLDERS.insert(1, folder / "sweeps")


def sweep_names() -> list[str]:
    """The names that +sweep= takes: of sweeps/ in the working directory and in a --config-dir, and of the package."""
    return sorted({path.stem for folder in _SWEEP_FOLDERS for path in folder.glob("*.yaml")})


def sweep_file(name: str) -> Path | None:
    """The file of a sweep; one of the working directory comes before one of the package."""
    candidates = (folder / f"{name}.yaml" for folder in _SWEEP_FOLDERS)
    return next((path for path in candidates if path.exists() or path.is_symlink()), None)
