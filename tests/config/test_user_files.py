"""The choices of a folder given by --config-dir: only options, under new names."""

import re

import pytest

from afterkernel.__main__ import main
from afterkernel.config import compose, to_config, use_config_dir
from afterkernel.errors import UserError

pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture
def write(tmp_path):
    def written(path, text):
        file = tmp_path / "mine" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path / "mine"

    return written


def config(*overrides):
    return to_config(compose(overrides))


def test_its_files_are_choices_and_its_sweeps_are_sweeps(write):
    write("dataset/digits_1_7.yaml", "defaults: [digits]\nminus: '1'\nplus: '7'\n")
    write("arch/wide.yaml", "defaults: [mlp]\nwidth: 99\n")
    write("experiment/both.yaml", "defaults:\n  - override /arch: wide\ntraining:\n  lr: 0.5\n")
    use_config_dir(write("sweeps/mine.yaml", "defaults:\n  - override /dataset: digits_1_7\nseed: 3\n"), [])
    made = config("dataset=digits_1_7", "arch=wide")
    assert (made.dataset.name, made.dataset.minus, made.dataset.plus) == ("digits", "1", "7")
    assert (made.arch.name, made.arch.width) == ("mlp", 99)
    made = config("experiment=both", "+sweep=mine")
    assert (made.arch.width, made.training.lr, made.dataset.plus, made.seed) == (99, 0.5, "7", 3)


def test_the_command_line_takes_the_folder(write, capsys):
    folder = write("arch/wide.yaml", "defaults: [mlp]\nwidth: 99\n")
    assert main([f"--config-dir={folder}", "arch=wide", "--cfg", "job"]) == 0
    assert "width: 99" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        ("notes/a.yaml", "a: 1\n", "holds no file GROUP/NAME.yaml: GROUP is one of arch, dataset,"),
        ("arch/vgg.yaml", "width: 3\n", "mine/arch/vgg.yaml has the name of an existing choice of arch: rename"),
        ("arch/my net.yaml", "width: 3\n", "my net.yaml has no valid name"),
        ("arch/wide.yaml", "_target_: os.mkdir\n", "_target_ would run code"),
        ("arch/wide.yaml", "defaults: [lenet]\n", 'defaults=["lenet"] is not a list of choices of arch'),
        ("arch/wide.yaml", "# @package _global_\nwidth: 3\n", "leave out the line # @package"),
        ("arch/wide.yaml", "- 1\n", "is not a choice of arch: it must contain options, each as name: value"),
        ("arch/wide.yaml", "width: [\n", "can't be read as YAML"),
        ("experiment/x.yaml", "plugins: [os]\n", "plugins can't be set here: only a sweep file may."),
        ("experiment/x.yaml", "hydra:\n  callbacks:\n    x: {_target_: os.mkdir}\n", "hydra can't be set here"),
        ("experiment/x.yaml", "nothing: 1\n", "nothing is not a section of the configuration"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(path, text, sentence, write):
    folder = write(path, text)
    with pytest.raises(UserError, match=re.escape(sentence)):
        use_config_dir(folder, [])


def test_a_value_of_the_wrong_type_is_refused_where_the_file_is_chosen(write):
    use_config_dir(write("arch/wide.yaml", "defaults: [mlp]\nwidth: many\n"), [])
    with pytest.raises(UserError, match=r"arch\.width=many has the wrong type: it must be a whole number"):
        config("arch=wide")


def test_a_path_that_is_no_folder_is_refused(write):
    folder = write("arch/wide.yaml", "width: 3\n")
    for path in (folder / "nowhere", folder / "arch" / "wide.yaml"):
        with pytest.raises(UserError, match="--config-dir"):
            use_config_dir(path, [])


def test_a_file_may_build_on_a_plugin_and_on_a_later_file(write, tmp_path, monkeypatch):
    (tmp_path / "lab.py").write_text(
        "from dataclasses import dataclass\nfrom afterkernel.models import MLP\n"
        "from afterkernel.options import option\n\n\n@dataclass\nclass Narrow(MLP):\n"
        "    name: str = option('narrow', 'which architecture (set by arch=NAME)')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    write("arch/five.yaml", "defaults: [six]\nnum_layers: 2\n")
    words = ["plugins=[lab]", "arch=five"]
    use_config_dir(write("arch/six.yaml", "defaults: [narrow]\nwidth: 6\n"), words)
    made = config(*words).arch
    assert (made.name, made.width, made.num_layers) == ("narrow", 6, 2)
