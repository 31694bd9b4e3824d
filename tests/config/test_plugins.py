"""Plugins: classes outside this package that are chosen by name, and invalid plugins."""

import re
import sys

import pytest

from afterkernel import plugins
from afterkernel.__main__ import main
from afterkernel.config import (
    compose,
    config_from_dict,
    config_to_dict,
    override,
    to_config,
)
from afterkernel.config.catalogue import every_option
from afterkernel.config.help import help_on
from afterkernel.config.schema import load_plugins
from afterkernel.errors import MissingPluginError, UserError
from afterkernel.models import MLP

NETS = """
from dataclasses import dataclass

from afterkernel.models import MLP
from afterkernel.options import option


@dataclass
class Narrow(MLP):
    name: str = option("narrow", "which architecture (set by arch=NAME)")
    depth_of_field: int = option(2, "an option of its own", at_least=1)
"""
MEASURES = """
from dataclasses import dataclass
from typing import ClassVar

from afterkernel.measures import Measure
from afterkernel.options import option


@dataclass
class TopShare(Measure):
    name: ClassVar[str] = "top_share"
    what: ClassVar[str] = "share of the trace in the largest eigenvalues"
    cost: ClassVar[str] = "4/3 n^3"
    top: int = option(5, "how many eigenvalues", at_least=1)

    def of_sample(self, gram):
        return {"top_share": 1.0}
"""

BROKEN = """
from dataclasses import dataclass

from afterkernel.data import Source
from afterkernel.models import Architecture
from afterkernel.options import option


@dataclass
class BrokenNet(Architecture):
    name: str = option("broken", "which architecture (set by arch=NAME)")

    def module(self, width, image_shape):
        return 1 / 0


@dataclass
class BrokenSource(Source):
    name: str = option("broken", "source of the images")

    def read(self, train):
        return 1 / 0
"""

pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write("lab/nets.py", text)`: a module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def written(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return written


def config(*overrides):
    return to_config(compose(overrides))


def test_a_class_of_a_plugin_is_a_choice_with_its_options_and_its_help(write):
    write("lab/nets.py", NETS)
    write("lab/measures.py", MEASURES)
    words = ["plugins=[lab.nets,lab.measures]", "arch=narrow", "arch.depth_of_field=3", "measure=top_share"]
    made = config(*words, "measure.top=7")
    assert (made.arch.name, made.arch.depth_of_field, made.measure.names, made.measure.top) == (
        *("narrow", 3),
        *(["top_share"], 7),
    )
    assert made.plugins == ["lab.measures", "lab.nets"]
    assert {"arch.depth_of_field", "measure.top"} <= set(every_option())
    text = " ".join(help_on("all").split())
    assert "an option of its own" in text
    assert "share of the trace in the largest eigenvalues" in text
    assert config_from_dict(config_to_dict(made)) == made
    assert override(made, ["measure.top=8"]).measure.top == 8
    with pytest.raises(UserError, match=r"arch\.depth_of_field=0 is too small"):
        config(*words[:2], "arch.depth_of_field=0")


def test_without_its_plugin_a_class_is_no_choice(write):
    write("lab/nets.py", NETS)
    with pytest.raises(UserError, match="arch=narrow is not known: choose one of mlp, resnet, sum, vgg, vit"):
        compose(["arch=narrow"])
    assert "lab.nets" not in sys.modules


def test_a_package_gives_what_it_imports_from_its_own_modules(write):
    write("lab/__init__.py", "from afterkernel.models import VGG\nfrom lab.nets import Narrow\n")
    write("lab/nets.py", NETS)
    assert config("plugins=[lab]", "arch=narrow").plugins == ["lab"]
    assert plugins.defining(MLP) is None


def test_a_plugin_does_not_own_the_classes_of_one_whose_name_is_longer(write):
    write("lab/net.py", MEASURES)
    write("lab/nets.py", NETS)
    narrow = config("plugins=[lab.net,lab.nets]", "arch=narrow").arch
    assert plugins.defining(type(narrow)) == "lab.nets"


def test_the_plugin_of_what_is_used_is_part_of_the_identity_and_no_other(write):
    write("lab/nets.py", NETS)
    write("other/nets.py", NETS)
    write("lab/measures.py", MEASURES)
    plain = config("arch=mlp")
    assert config("arch=mlp", "plugins=[lab.nets,lab.measures]").identity.run_id == plain.identity.run_id
    ours = config("plugins=[lab.nets]", "arch=narrow")
    measured = config("plugins=[lab.nets,lab.measures]", "arch=narrow", "measure=top_share")
    assert measured.identity.training_id == ours.identity.training_id
    assert measured.identity.run_id != ours.identity.run_id
    plugins._loaded.clear()
    theirs = config("plugins=[other.nets]", "arch=narrow")
    assert (theirs.identity.training_id, theirs.identity.run_id) != (ours.identity.training_id, ours.identity.run_id)


def test_a_stored_configuration_names_its_missing_plugin(write):
    write("lab/nets.py", NETS)
    plain = config_to_dict(config("plugins=[lab.nets]", "arch=narrow"))
    plugins._loaded.clear()
    with pytest.raises(MissingPluginError, match=r"add plugins=\[lab\.nets\] to the command"):
        config_from_dict(plain)
    load_plugins(["lab.nets"])
    assert config_from_dict(plain).arch.name == "narrow"


def test_a_sweep_file_may_name_plugins_and_the_command_line_replaces_them(write, capsys):
    write("lab/nets.py", NETS)
    write("lab/measures.py", MEASURES)
    write("sweeps/mine.yaml", "plugins: [lab.nets]\ndefaults:\n  - override /arch: narrow\n")
    with pytest.raises(UserError, match=r"sweeps/mine\.yaml: arch=narrow is not known"):
        config("+sweep=mine", "plugins=[lab.measures]")
    capsys.readouterr()
    assert config("+sweep=mine").arch.name == "narrow"
    assert capsys.readouterr().err == "afterkernel: importing the plugin lab.nets\n"
    assert config("+sweep=mine").plugins == ["lab.nets"]
    assert capsys.readouterr().err == ""  # once


def test_every_command_takes_plugins(write, capsys):
    write("lab/nets.py", NETS)
    assert main(["status", "nowhere", "plugins=[lab.nets]"]) == 2
    assert capsys.readouterr().err.startswith("afterkernel: importing the plugin lab.nets\nafterkernel: nowhere ")


def test_the_plugin_of_an_installed_package_needs_no_naming(write, tmp_path, monkeypatch):
    write("site/installed_lab/__init__.py", NETS)
    write("site/installed_lab-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: installed-lab\nVersion: 1.2\n")
    write("site/installed_lab-1.2.dist-info/entry_points.txt", "[afterkernel]\nnets = installed_lab\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    plugins._load_installed.cache_clear()
    made = config("arch=narrow")
    assert made.plugins == ["installed_lab"]
    assert plugins.described()["installed_lab"].startswith("sha256 ")  # its metadata lists no files


def test_a_broken_installed_plugin_is_named(write, tmp_path, monkeypatch):
    write("site/broken_lab/__init__.py", "1 / 0\n")
    write("site/broken_lab-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: broken-lab\nVersion: 1.2\n")
    write("site/broken_lab-1.2.dist-info/entry_points.txt", "[afterkernel]\nnets = broken_lab\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    plugins._load_installed.cache_clear()
    with pytest.raises(UserError, match="the plugin broken_lab of the installed package broken-lab can't be"):
        config("arch=mlp")


NO_OPTION = NETS.replace('= option(2, "an option of its own", at_least=1)', "= 2")
NO_DATACLASS = NETS.replace("@dataclass\n", "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import numpy\n", "defines nothing: it must define, or import from its own modules, a subclass of Source"),
        ("import nowhere_to_be_found\n", "can't be imported: it needs the module nowhere_to_be_found; install it."),
        ("1 / 0\n", "can't be imported: ZeroDivisionError: division by zero"),
        ("def\n", "can't be imported: SyntaxError: invalid syntax"),
        (NETS.replace('"narrow"', '"vgg"'), "Narrow has the name vgg, which afterkernel.models.vgg has already given"),
        (NO_OPTION, "declare Narrow.depth_of_field as depth_of_field: int = option(DEFAULT, HELP)"),
        (
            MEASURES.replace("of_sample", "of_samples"),
            "TopShare must define of_training_set or of_sample or of_images.",
        ),
        (NETS.replace('"narrow"', '"Narrow net"'), "Narrow.name=Narrow net is not valid: use lower-case letters"),
        ("raise SystemExit(3)\n", "can't be imported: SystemExit: 3"),
        (NO_DATACLASS, "Narrow declares options: decorate it with @dataclass."),
        (
            MEASURES.replace("top:", "num_images:"),
            "measure.num_images is the option of two measures: rename that of Top",
        ),
    ],
)
def test_a_plugin_that_does_not_fit_is_refused_in_a_sentence(text, sentence, write):
    write("lab/nets.py", text)
    with pytest.raises(UserError, match=re.escape(sentence)) as refused:
        config("plugins=[lab.nets]", "arch=mlp")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("plugins=[nowhere.nets]", "there is no module nowhere here; install its package, or start in the folder"),
        ("plugins=[lab.nowhere]", "there is no module lab.nowhere here"),
        ("plugins=lab.nets", "plugins=lab.nets is not a list: write it as plugins=[my_lab.nets]."),
        ("plugins=['lab/nets.py']", "plugins=[lab/nets.py] is not the name of a Python module"),
        ("plugins=[3]", "plugins=[3] is not the name of a Python module"),
        ("plugins=lab.nets,lab.other", "plugins=lab.nets,lab.other is not a list"),
    ],
)
def test_a_name_that_is_no_plugin_is_refused(word, sentence, write):
    write("lab/nets.py", NETS)
    with pytest.raises(UserError, match=re.escape(sentence)):
        compose([word])


def test_two_measures_of_plugins_may_not_share_an_option(write):
    write("lab/measures.py", MEASURES)
    write("lab/others.py", MEASURES.replace("top_share", "another").replace("TopShare", "Another"))
    with pytest.raises(UserError, match=r"measure\.top is the option of two measures: rename that of"):
        config("plugins=[lab.measures,lab.others]")


def test_an_error_of_this_package_is_not_blamed_on_a_plugin(write, monkeypatch):
    write("lab/nets.py", NETS)
    monkeypatch.setattr(sys.modules["afterkernel.config.checks"], "check_budget", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        config("plugins=[lab.nets]", "arch=narrow")


@pytest.mark.parametrize("words", [["arch=broken"], ["dataset=broken", "arch=mlp"]])
def test_an_error_in_the_code_of_a_plugin_says_where(words, write):
    write("lab/broken.py", BROKEN)
    with pytest.raises(
        UserError, match=r"plugins=\[lab\.broken\] failed while the options were checked: ZeroDiv.*"
    ) as told:
        config("plugins=[lab.broken]", *words)
    assert re.search(r"broken\.py, line \d+\)$", str(told.value))
