"""Where the configuration files lie: conf/, and the sweeps/ of the package and of the project."""

from __future__ import annotations

import contextlib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _folder(name: str) -> Path:
    """conf/ and sweeps/ lie next to the package in a checkout, inside it when installed as a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


CONF = _folder("conf")
SWEEPS = _folder("sweeps")
# The file that chooses among kinds where the user does not.
CHOSEN = CONF / "config.yaml"
# Where sweeps are looked for, in this order; --config-dir adds its own after the first.
_SWEEP_FOLDERS = [Path("sweeps"), SWEEPS]
# Where presets are looked for, below folders named after their groups.
_PRESET_FOLDERS = [CONF]


def use_folder(folder: Path) -> None:
    """Look for sweeps in FOLDER/sweeps and for presets in FOLDER/GROUP too."""
    _SWEEP_FOLDERS.insert(1, folder / "sweeps")
    _PRESET_FOLDERS.append(folder)


def preset_groups() -> list[str]:
    """The groups that have presets: dataset, training, ..., experiment."""
    return sorted({path.parent.name for folder in _PRESET_FOLDERS for path in folder.glob("*/*.yaml")} - {"sweeps"})


def presets(group: str) -> dict[str, Path]:
    """The files of presets of a group by their names: each sets several options at once."""
    return {path.stem: path for folder in _PRESET_FOLDERS for path in sorted((folder / group).glob("*.yaml"))}


def first_comment(path: Path) -> str:
    """The first line of comment of a YAML file, which says what it is; empty where it has none."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            text = line.removeprefix("#").strip()
            if not line.startswith("#"):
                break
            if text and not text.startswith("@"):  # @package is an instruction for Hydra
                return text
    return ""


def sweep_names() -> list[str]:
    """The names that +sweep= takes: of sweeps/ in the working directory and in a --config-dir, and of the package."""
    return sorted({path.stem for folder in _SWEEP_FOLDERS for path in folder.glob("*.yaml")})


def sweep_file(name: str) -> Path | None:
    """The file of a sweep; one of the working directory comes before one of the package."""
    candidates = (folder / f"{name}.yaml" for folder in _SWEEP_FOLDERS)
    return next((path for path in candidates if path.exists() or path.is_symlink()), None)
