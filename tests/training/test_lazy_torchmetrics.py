"""Lightning is imported without the metrics of torchmetrics, which work as ever once they are used."""

import importlib
import logging
import subprocess
import sys

import pytest

from afterkernel.training import lazy_torchmetrics

REAL = """
import sys, afterkernel.training.fit
heavy = {"torchmetrics.functional", "torchmetrics.classification", "scipy.signal"}
print(sorted(heavy & set(sys.modules)))
from torchmetrics import *
import torch, torchmetrics, pytorch_lightning.core.module as module
metric = Accuracy(task="binary")
same = module.Metric is torchmetrics.Metric and module.MetricCollection is MetricCollection
print(same, isinstance(metric, module.Metric))
print(metric(torch.tensor([1, 0, 1, 1]), torch.tensor([1, 0, 0, 1])).item(), torchmetrics.__version__)
"""


def test_training_imports_no_metric_and_metrics_are_those_that_lightning_knows():
    from torchmetrics import __version__

    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "True True", f"0.75 {__version__}"], done.stderr


FILES = {
    "__init__": """
import logging
_logger = logging.getLogger("metrics")
from fake_metrics.__about__ import *
from fake_metrics import functional
from fake_metrics.metric import Metric
from fake_metrics.collections import MetricCollection
__all__ = ["Metric", "MetricCollection", "functional"]
""",
    "__about__": "__version__ = '1.2.3'\n__all__ = ['__version__']",
    "utilities": "from fake_metrics.metric import Metric\nfrom fake_metrics import _logger\nHELPS = True",
    "metric": "from fake_metrics.utilities import *\nclass Metric: pass",
    "collections": "from fake_metrics.metric import Metric\nclass MetricCollection: pass",
    "functional": "import fake_metrics.utilities\naccuracy = max",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a small package that is built like torchmetrics, has not been imported, and is to be made lazy."""
    folder = tmp_path / "fake_metrics"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(lazy_torchmetrics, "_PACKAGE", "fake_metrics")
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "fake_metrics"]:
        del sys.modules[name]


def loaded():
    return {name.partition(".")[2] for name in sys.modules if name.startswith("fake_metrics.")}


def test_a_class_and_the_version_are_there_without_the_rest(package):
    lazy_torchmetrics.install()
    import fake_metrics

    assert loaded() == set()
    assert fake_metrics.__version__ == "1.2.3"
    assert fake_metrics.Metric is importlib.import_module("fake_metrics.metric").Metric
    assert loaded() == {"__about__", "utilities", "metric"}
    assert fake_metrics.functional.accuracy(1, 2) == 2
    assert fake_metrics.Metric is importlib.import_module("fake_metrics.metric").Metric


@pytest.mark.parametrize("name", ["functional", "Metric", "MetricCollection", "__all__", "__version__"])
def test_each_name_can_be_the_first(package, name):
    lazy_torchmetrics.install()
    import fake_metrics

    found = getattr(fake_metrics, name)
    assert fake_metrics.functional.accuracy(1, 2) == 2
    assert getattr(fake_metrics, name) is found
    assert fake_metrics.Metric is importlib.import_module("fake_metrics.metric").Metric


def test_modules_that_depend_on_more_are_imported_as_a_whole(package):
    (package / "utilities.py").write_text("from fake_metrics.collections import NoSuchName")
    (package / "functional.py").write_text("accuracy = max")
    (package / "metric.py").write_text("class Metric: pass")
    lazy_torchmetrics.install()
    from fake_metrics import Metric, functional

    assert functional.accuracy(1, 2) == 2
    assert Metric is importlib.import_module("fake_metrics.metric").Metric


@pytest.mark.parametrize("name", ["no_such_metric", "__wrapped__"])
def test_an_unknown_name_is_an_attribute_error(package, name):
    lazy_torchmetrics.install()
    import fake_metrics

    for _ in range(2):
        with pytest.raises(AttributeError, match=f"module 'fake_metrics' has no attribute '{name}'"):
            getattr(fake_metrics, name)
    assert (loaded() == set()) == name.startswith("__")


def test_an_error_of_the_package_is_raised_each_time(package):
    (package / "functional.py").write_text("raise ImportError('no such library')")
    lazy_torchmetrics.install()
    for _ in range(2):
        with pytest.raises(ImportError, match="no such library"):
            from fake_metrics import functional  # noqa: F401


def test_a_package_that_is_imported_already_or_missing_stays_so(package, monkeypatch):
    import fake_metrics

    lazy_torchmetrics.install()
    assert sys.modules["fake_metrics"] is fake_metrics
    assert "__getattr__" not in vars(fake_metrics)
    monkeypatch.setattr(lazy_torchmetrics, "_PACKAGE", "no_such_metrics")
    lazy_torchmetrics.install()
    assert "no_such_metrics" not in sys.modules
    assert not logging.getLogger("metrics").handlers
