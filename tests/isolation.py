"""The environment of the tests: the same on every machine and for every user, independent of installed software.

`hide` replaces the environment by a small one: an empty HOME, a PATH that holds basic tools alone, no GPU, no variable
of W&B, SLURM, Ray, Python, git or XDG. Modules of optional engines can't be imported, here or in any process that a
test starts. `reveal` gives back what the tests of one mark need; `pytest -m MARK` does this.
"""

import atexit
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Variables that say where the interpreter finds its own libraries, where data lies, and what pytest needs.
KEPT = re.compile(
    r"TMPDIR|PYTHONPATH|PYTHONDONTWRITEBYTECODE|PYTHONPYCACHEPREFIX|LD_LIBRARY_PATH|DYLD_\w+|VIRTUAL_ENV|USER|LOGNAME"
    r"|COV_\w+|COVERAGE_\w+|PYTEST_\w+|AFTERKERNEL_DATA"
)
TOOLS = ["sh", "bash", "zsh", "fish", "ls", "env", "git", "ps", "mount", "umount", "uname", "ldconfig"]
MODULES = ["ray", "cuml"]
# What the tests of a mark see: variables, and modules.
REVEALED = {
    "slurm": (r"PATH|SLURM_\w+|MUNGE_\w+", []),
    "ray": (r"PATH|RAY_\w+|AFTERKERNEL_TEST_RAY", ["ray"]),
    "browser": (r"PATH", []),
    "gpu": (r"PATH|CUDA_\w+|NVIDIA_\w+", ["cuml"]),
}
HIDDEN_MODULES = "AFTERKERNEL_TEST_HIDDEN"
# Its sitecustomize hides these modules in every interpreter that a test starts.
STARTUP = str(Path(__file__).parent / "sweep" / "harm")

_real: dict[str, str] = {}


def hidden(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of the tests in place of this one; `home` is a new folder."""
    kept = {name: value for name, value in environment.items() if KEPT.fullmatch(name)}
    tools = home / "bin"
    tools.mkdir()
    for name in TOOLS:
        if (found := shutil.which(name, path=environment.get("PATH", os.defpath) + ":/usr/sbin:/sbin")) is not None:
            (tools / name).symlink_to(found)
    paths = [STARTUP, *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "HOME": str(home),
        "PATH": str(tools),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "GIT_CONFIG_NOSYSTEM": "1",
        "WANDB_ERROR_REPORTING": "false",  # W&B's own telemetry, which would ask for a network
        "PYTHONPATH": os.pathsep.join(paths),
        HIDDEN_MODULES: ",".join(MODULES),
    }


def hide() -> None:
    """Hide all of it from this process and from those that it starts; a worker of xdist inherits it."""
    if HIDDEN_MODULES not in os.environ:
        home = Path(tempfile.mkdtemp(prefix="afterkernel-tests-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        _real.update(os.environ)
        restore(hidden(os.environ, home))
    # Python's readline sets them outside os.environ, where only the processes that this one starts see them.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    # An import of a module that is None here fails, and `find_spec` finds nothing. (Not for cupy: SciPy compares
    # types with those of sys.modules["cupy"].)
    sys.modules.update(dict.fromkeys(filter(None, os.environ[HIDDEN_MODULES].split(","))))


def reveal(mark: str) -> None:
    """Give back what the tests of this mark are about."""
    variables, modules = REVEALED[mark]
    if mark == "gpu":
        del os.environ["CUDA_VISIBLE_DEVICES"]
    os.environ.update({name: value for name, value in _real.items() if re.fullmatch(variables, name)})
    hidden_modules = set(os.environ[HIDDEN_MODULES].split(",")) - set(modules)
    os.environ[HIDDEN_MODULES] = ",".join(sorted(hidden_modules))
    for name in modules:
        sys.modules.pop(name, None)


def restore(environment: Mapping[str, str]) -> None:
    """Restore this environment."""
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)
