"""Several classes from the command line to the report: a run is trained, evaluated, resumed, and read again."""

import dataclasses

import numpy as np
import pytest
from sklearn.svm import SVC

import afterkernel as ak
from afterkernel.config import compose, to_config
from afterkernel.records import read_records
from afterkernel.runs.run import run

OPTIONS = [
    *("dataset.classes=[5,0,3]", "arch=mlp", "arch.width=8", "training.epochs=2", "training.lr=0.1"),
    *("snapshot.epochs=[0,1]", "measure.num_images=10", "measure.gram_images=30", "measure.crop_fraction=[0.75]"),
    *("dataset.max_train=45", "dataset.max_test=30", "keep=[gram,checkpoint]", "trainer.threads=1"),
]
COLUMNS = "epoch,kernel,kernel_output,minus,plus,classes,margin,gap,n_support,separable"


@pytest.fixture(scope="module")
def several(tmp_path_factory, program):
    """A folder with runs of three classes by the sum and the trace of outputs, and of two classes."""
    folder = tmp_path_factory.mktemp("several")
    words = [*OPTIONS, "sweep.name=s"]
    done = program("--multirun", "kernel.output=trace,sum", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    logs = [path.read_text() for path in folder.glob("runs/s/*/run.log")]
    assert all("digits 3 classes (5, 0, 3): 45 training and 30 test images" in log for log in logs)
    assert len(logs) == 2
    pair = [word for word in words if not word.startswith("dataset.classes")]
    assert program(*pair, "kernel.names=[ntk]", cwd=folder).returncode == 0
    return folder / "runs" / "s"


def of(several, output):
    return next(
        record
        for record in read_records(several)
        if record.final and record.classes and record.kernels[0].kernel_output == output
    )


def test_records_and_results(several, program):
    frame = ak.results(several, "classes = '5; 0; 3'")
    assert set(frame["minus"]) == set(frame["plus"]) == {""}
    assert set(frame.loc[frame["kernel"] == "ntk", "kernel_output"]) == {"trace", "sum"}
    assert set(frame.loc[frame["kernel"] == "conjugate", "kernel_output"]) == {""}
    assert (frame["train_loss"] > 0.1).all()
    pair = ak.results(several, "classes = ''")
    assert (set(pair["minus"]), set(pair["plus"]), set(pair["kernel_output"])) == ({"3"}, {"8"}, {""})
    shown = program("results", several, "--where", "classes <> ''", cwd=several).stdout
    assert "dataset=digits  classes=5; 0; 3  svm_backend=exact" in shown
    assert "minus=" not in shown
    assert program("results", several, "--columns", COLUMNS, cwd=several).returncode == 0


@pytest.mark.parametrize("kernel", ["ntk", "conjugate"])
def test_the_svm_columns_are_those_of_one_against_the_rest_by_scikit_learn(several, kernel):
    record = of(several, "trace")
    grams = ak.saved_grams(several / record.run_id, 2, kernel, record.evaluation_id)
    found = next(each for each in record.kernels if each.kernel == kernel)
    alone = [ak.HardMarginSVM().fit(grams.train, (grams.y_train == label).astype(int)) for label in range(3)]
    each = {svm.separable_ for svm in alone}
    assert found.separable is (False if False in each else None if None in each else True)
    if found.separable:
        assert found.margin == pytest.approx(min(svm.margin_ for svm in alone), rel=1e-9)
        assert 0 <= found.gap <= 1e-6
        assert found.n_support == len(set().union(*(svm.support_.tolist() for svm in alone)))
    else:
        assert found.margin is None
        assert found.gap is None
    values = np.stack([svm.decision_function(grams.test) for svm in alone], 1)
    assert found.svm_test_error == np.mean(values.argmax(1) != grams.y_test)
    if kernel == "ntk":  # scikit-learn's SVM has an intercept: a mirrored copy of each image has none
        mirrored = np.block([[grams.train, -grams.train], [-grams.train, grams.train]])
        margins = []
        for label in range(3):
            sign = np.where(grams.y_train == label, 1, -1)
            svm = SVC(C=1e8, kernel="precomputed", tol=1e-9).fit(mirrored, np.concatenate([sign, -sign]))
            a = svm.dual_coef_[0]
            margins.append(1 / np.sqrt(a @ mirrored[np.ix_(svm.support_, svm.support_)] @ a))
        assert found.margin == pytest.approx(min(margins), rel=1e-4)


def test_the_kernels_are_those_of_the_library(several):
    import torch

    from afterkernel.runs.run import read_config
    from afterkernel.training import snapshot

    for output in ("trace", "sum"):
        record = of(several, output)
        config = read_config(several / record.run_id)
        problem = config.dataset.load()
        network = config.arch.build(problem.image_shape, problem.n_outputs)
        path = snapshot.paths(several / record.run_id)[-1]
        snapshot.load(several / record.run_id, network, path)
        grams = ak.saved_grams(several / record.run_id, 2, "ntk", record.evaluation_id)
        full = ak.ntk(network, problem.x_train, output="full", dtype=torch.float64)
        expected = full.sum((2, 3)) if output == "sum" else full.diagonal(dim1=2, dim2=3).sum(2)
        found = torch.from_numpy(grams.train.copy()) * grams.normalisation**2
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


def test_the_report_keeps_them_apart_and_leaves_them_out_of_claims(several, program):
    assert program("report", several, cwd=several).returncode == 0
    page = (several / "report" / "index.html").read_text()
    assert "digits: 3 classes (5, 0, 3)" in page
    assert "digits: 3 against 8" in page
    assert "Claims are about pairs of classes. Runs with several classes are left out of them: 2." in page
    assert "kernel.output=sum" in page
    claim = (several / "report" / "tables" / "claim_c1.csv").read_text()
    assert "digits 3/8" in claim
    assert claim.count("digits") == 1


def test_status_and_evaluation_from_snapshots(several, program):
    assert program("status", several, cwd=several).returncode == 0
    record = of(several, "sum")
    done = program("evaluate", several / record.run_id, "kernel.output=1", "logger=none", cwd=several)
    assert done.returncode == 0, done.stderr
    frame = ak.results(several / record.run_id, "kernel_output = '1' and final")
    assert len(frame) == 1
    refused = program("evaluate", several / record.run_id, "dataset.classes=[5,3,0]", cwd=several)
    assert refused.returncode == 2
    assert "differs from what the snapshots were trained with" in refused.stderr


class StoppedError(Exception):
    pass


def test_a_run_that_is_stopped_between_snapshots_ends_with_the_same_numbers(tmp_path):
    config = to_config(compose([*OPTIONS, "logger=none"]))
    run(config, tmp_path / "whole")

    def stop():
        if list((tmp_path / "stopped" / "records").glob("*.json")):
            raise StoppedError

    with pytest.raises(StoppedError):
        run(config, tmp_path / "stopped", check_cancelled=stop)
    assert len(read_records(tmp_path / "stopped")) == 1
    assert run(config, tmp_path / "stopped")

    def numbers(folder):
        records = sorted(map(dataclasses.asdict, read_records(folder)), key=lambda record: record["epoch"])
        return [
            [{name: value for name, value in kernel.items() if name != "resources"} for kernel in record["kernels"]]
            for record in records
        ], [(record["train_loss"], record["net_test_error"]) for record in records]

    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")
    assert len(numbers(tmp_path / "whole")[0]) == 3
    assert not run(config, tmp_path / "stopped")  # finished


def test_all_classes_are_recorded_by_name(tmp_path):
    config = to_config(compose(["dataset.classes=all"]))
    assert config.dataset.classes == list("0123456789")
    assert config.identity == to_config(compose(["dataset.classes=[0,1,2,3,4,5,6,7,8,9]"])).identity
