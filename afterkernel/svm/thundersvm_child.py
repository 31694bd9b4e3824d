"""The child process of the `thundersvm` backend: plain npy files in, plain npy files out. Run as a script."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    """Fit the F.npy (n, r), y.npy (n,) and options.json of `folder`; write signed.npy (n,) and intercept.npy (1,)."""
    from thundersvm import SVC

    F, y = np.load(folder / "F.npy", allow_pickle=False), np.load(folder / "y.npy", allow_pickle=False)
    options = json.loads((folder / "options.json").read_text())
    machine = SVC(kernel="linear", gamma=1.0, cache_size=1000, **options)
    machine.fit(F, y)
    signed = np.zeros(len(y))
    signed[machine.support_] = machine.dual_coef_[0]
    np.save(folder / "signed.npy", signed)
    # its sign is opposite to scikit-learn's
    np.save(folder / "intercept.npy", -np.asarray(machine.intercept_, dtype=np.float64))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
