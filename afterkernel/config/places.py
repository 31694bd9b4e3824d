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


def sweep_names() -> list[str]:
    """The names that +sweep= takes: those of the package, and those of sweeps/ in the working directory."""
    return sorted({path.stem for folder in (SWEEPS, Path("sweeps")) for path in folder.glob("*.yaml")})


def sweep_file(name: str) -> Path | None:
    """The file of a sweep; one of the working directory comes before one of the package."""
    candidates = (folder / f"{name}.yaml" for folder in (Path("sweeps"), SWEEPS))
    return next((path for path in candidates if path.exists() or path.is_symlink()), None)
