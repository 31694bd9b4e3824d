"""Every package that afterkernel imports is declared in pyproject.toml, and every dependency is imported."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Extras of people who work on afterkernel, which the package itself can't need.
OF_DEVELOPERS = {"dev", "peers"}
# What optional packages are distributed as, also where they are not installed.
OPTIONAL = {"cuml": "cuml-cu13", "ray": "ray", "submitit": "submitit", "thundersvm": "thundersvm-cpu"}
OPTIONAL |= {"mlflow": "mlflow-skinny", "transformers": "transformers", "wandb_workspaces": "wandb-workspaces"}
# One release of pydantic needs one release of pydantic-core.
PARTS = {"pydantic-core": "pydantic"}
# Dependencies that no line imports: altair imports vl-convert.
INDIRECT = {"vl-convert-python"}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements):
    return {normal(re.match(r"[\w.-]+", text)[0]) for text in requirements} - {"afterkernel"}


def imports(text):
    """The top-level names that a module's text imports, anywhere in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def distributions(folder):
    """The distributions that the modules below a folder import, each with one of these modules."""
    known = importlib.metadata.packages_distributions()
    own = {*sys.stdlib_module_names, "afterkernel"} | {path.stem for path in folder.glob("*.py")}
    found = {}
    for path in folder.rglob("*.py"):
        for name in set(imports(path.read_text())) - own:
            distribution = normal(OPTIONAL.get(name) or known.get(name, [name])[0])
            found[PARTS.get(distribution, distribution)] = str(path.relative_to(ROOT))
    return found


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import a.b, c", {"a", "c"}),
        ("from a.b import c", {"a"}),
        ("from . import a", set()),
        ("def f():\n    import a", {"a"}),
    ],
)
def test_imports_are_found_wherever_they_are(text, names):
    assert set(imports(text)) == names


def test_every_import_is_declared():
    extras = PROJECT["optional-dependencies"]
    of_users = [PROJECT["dependencies"], *(extras[name] for name in extras.keys() - OF_DEVELOPERS)]
    known = set().union(*map(declared, of_users))
    missing = {name: where for name, where in distributions(ROOT / "afterkernel").items() if name not in known}
    assert not missing


def test_every_dependency_is_imported():
    used = distributions(ROOT / "afterkernel").keys() | distributions(ROOT / "examples").keys() | INDIRECT
    assert declared(PROJECT["dependencies"]) - used == set()
