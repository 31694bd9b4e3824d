import ast
from pathlib import Path

import pytest

import afterkernel.records

FILES = sorted(Path(afterkernel.records.__file__).parent.glob("*.py"))
ALLOWED = {"errors", "files", "records", "text", "types"}


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_records_import_nothing_from_a_package_above_them(path):
    tree = ast.parse(path.read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    ours = [name for name in names if name.split(".")[0] == "afterkernel"]
    assert all(f"{name}.".split(".")[1] in ALLOWED for name in ours), ours
