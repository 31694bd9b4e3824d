"""The child process of the `thundersvm` backend: plain npy files in, plain npy files out. Run as a script."""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path) -> None:
    """Fit the F.npy (n, r), y.npy (n,) and options.json of `folder`.

    Writes signed.npy (n,), intercept.npy (1,), and library.txt: the path of the shared library that was loaded.
    """
    F, y = np.load(folder / "F.npy", allow_pickle=False), np.load(folder / "y.npy", allow_pickle=False)
    options = json.loads((folder / "options.json").read_text())
    machine_type, loaded = load(options.pop("library"))
    (folder / "library.txt").write_text(loaded)
    machine = machine_type(kernel="linear", gamma=1.0, cache_size=1000, **options)
    machine.fit(F, y)
    signed = np.zeros(len(y))
    signed[machine.support_] = machine.dual_coef_[0]
    np.save(folder / "signed.npy", signed)
    # its sign is opposite to scikit-learn's
    np.save(folder / "intercept.npy", -np.asarray(machine.intercept_, dtype=np.float64))


def load(library: str) -> tuple[Any, str]:
    """thundersvm's SVC, run by the shared library at `library` (empty: the package's own); and the path loaded.

    On import, the package loads the library in its own folder with ctypes.
    """
    import sklearn.utils.validation  # noqa: F401  what the package imports must not see the changed ctypes

    loaded: list[str] = []
    plain = ctypes.CDLL

    def redirected(name: Any, *args: Any, **kwargs: Any) -> ctypes.CDLL:
        if "thundersvm" not in Path(str(name)).name:
            return plain(name, *args, **kwargs)
        loaded.append(library or str(name))
        return plain(loaded[-1], *args, **kwargs)

    ctypes.CDLL = redirected  # type: ignore[assignment, misc]
    try:
        from thundersvm import SVC
    finally:
        ctypes.CDLL = plain  # type: ignore[misc]
    return SVC, loaded[-1] if loaded else ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
