"""Nothing that is loaded can run code: the source tree calls no loader that could."""

import ast
from pathlib import Path

import pytest

import afterkernel

PACKAGE = Path(afterkernel.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "compile",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
    "pd.read_pickle",
    "pandas.read_pickle",
    "torch.jit.load",
    "np.fromregex",
}
# Processes of our own, which load nothing from disk.
PROCESSES = ("joblib.externals.loky.", "joblib.cpu_count")
# A call is allowed if it contains one of these words.
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def has_safe_loader(call, tree):
    """Whether the Loader of a yaml.load is yaml.SafeLoader or yaml.CSafeLoader, or a name that was given one."""
    (loader,) = [keyword.value for keyword in call.keywords if keyword.arg == "Loader"] or [None]
    if isinstance(loader, ast.Name):
        given = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and loader.id in [dotted(target) for target in node.targets]
        ]
    else:
        given = [loader]
    chosen = [
        part for value in given for part in ([value.body, value.orelse] if isinstance(value, ast.IfExp) else [value])
    ]
    return bool(chosen) and all(dotted(part) in ("yaml.SafeLoader", "yaml.CSafeLoader") for part in chosen)


def unsafe(tree):
    """Lines of a module that could run what a file holds, each with why."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
            if node.module in ("torch", "numpy", "yaml", "pandas") and {alias.name for alias in node.names} & {"load"}:
                yield node.lineno, f"a bare load of {node.module} can't be checked"
        else:
            imported = []
        for name in imported:
            if name.split(".")[0] in UNSAFE_MODULES and not name.startswith(PROCESSES):
                yield node.lineno, f"import of {name}"
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name == "yaml.load" and not has_safe_loader(node, tree):
                yield node.lineno, "yaml.load without a safe loader"
            if name in UNSAFE_CALLS:
                yield node.lineno, name
            if name in NEEDED:
                word, value = NEEDED[name]
                given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
                if given.get(word) is not value:
                    yield node.lineno, f"{name} without {word}={value}"
            allowed = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            if allowed.get("allow_pickle"):
                yield node.lineno, "allow_pickle=True"


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(PACKAGE.parent)) for path in SOURCES])
def test_no_loader_that_could_run_code(path):
    assert list(unsafe(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import os, marshal",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "np.lib.format.read_array(f, allow_pickle=True)",
        "yaml.load(f)",
        "yaml.load(f, yaml.Loader)",
        "yaml.load(f, Loader=yaml.Loader)",
        "yaml.load(f, Loader=loader)",
        "loader = yaml.CSafeLoader if fast else yaml.Loader\nyaml.load(f, Loader=loader)",
        "yaml.unsafe_load(f)",
        "eval('1')",
        "from torch import load",
    ],
)
def test_the_check_sees_what_it_looks_for(line):
    assert list(unsafe(ast.parse(line)))


def test_the_check_lets_safe_loaders_pass():
    safe = "torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nyaml.safe_load(f)\nmodel.eval()\n"
    safe += "yaml.load(f, Loader=yaml.SafeLoader)"
    assert list(unsafe(ast.parse(safe))) == []
    assert len(SOURCES) > 100
