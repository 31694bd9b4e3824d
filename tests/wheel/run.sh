#!/usr/bin/env bash
# Install a wheel in a new environment and use it from an empty folder: run.sh WHEEL PYTHON [SITE_PACKAGES] [-- OPTIONS]
# With SITE_PACKAGES nothing is downloaded: the packages there stand in for the wheel's dependencies.
set -euo pipefail
wheel=$(realpath "$1") python=$2 borrowed=
shift 2
if [ $# -gt 0 ] && [ "$1" != -- ]; then borrowed=$(realpath "$1"); shift; fi
if [ $# -gt 0 ]; then shift; fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/venv"
bin=$place/venv/bin
if [ -n "$borrowed" ]; then
  echo "$borrowed" > "$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
fi
"$bin/python" -m pip install --quiet --disable-pip-version-check ${borrowed:+--no-deps} "$wheel"
mkdir "$place/empty"
cd "$place/empty"
"$bin/python" - "$place/venv" <<'CHECK'
import importlib.metadata
import sys
from pathlib import Path

import afterkernel

package = Path(afterkernel.__file__).parent
assert package.is_relative_to(sys.argv[1]), f"{package} is not the wheel's"
for name in ("py.typed", "conf/config.yaml", "sweeps/demo.yaml", "report/page.html.j2", "report/page.css"):
    assert (package / name).is_file(), f"the wheel has no {name}"
found = importlib.metadata.metadata("afterkernel")
assert found["Version"] == afterkernel.__version__, (found["Version"], afterkernel.__version__)
assert found.get_payload().lstrip().startswith("# afterkernel"), "the metadata have no description"
assert any(path.name == "LICENSE" for path in importlib.metadata.files("afterkernel")), "the wheel has no LICENSE"
CHECK
"$bin/afterkernel" --help > help.txt
grep -q "training.lr" help.txt
"$bin/afterkernel" +sweep=demo sweep.name=wheel "$@"
"$bin/afterkernel" results runs/wheel
"$bin/afterkernel" report runs/wheel
test -s runs/wheel/report/index.html
