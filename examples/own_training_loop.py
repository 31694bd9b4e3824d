"""A training loop of your own

When does the kernel of a network become better than the one that it started with? A Recorder computes, at chosen
steps of any training loop, the neural tangent kernel (NTK) and the conjugate kernel (CK, of the last hidden layer),
and a hard-margin SVM on each. It doesn't change the training, and `ak.results` returns the records as a data frame.

The picture shows the test error of both SVMs and of the network itself by step, as means over three initialisations.
"""

from tempfile import TemporaryDirectory

import altair as alt
import pandas as pd
import torch
from common import AFTER, INK, THIRD, changes, cnn, digits, main, places, titled
from torch.nn import functional as F

import afterkernel as ak

NAMES = {"ntk": "NTK", "conjugate": "CK", "network": "network"}


def compute(small: bool = False) -> pd.DataFrame:
    """Test errors in percent by step, seed and classifier."""
    n, steps, seeds = (40, [0, 10], [0]) if small else (170, [0, 20, 50, 100, 200, 400], [0, 1, 2])
    data = digits([3, 8], n, n, side=12)
    with TemporaryDirectory() as folder:  # in your own work a folder that stays, such as "runs/mine"
        for seed in seeds:
            torch.manual_seed(seed)
            model = cnn(12)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
            recorder = ak.Recorder(
                folder, train=data[:2], test=data[2:], name="cnn", seed=seed, steps=steps, options=["measure.names=[]"]
            )
            for step in range(steps[-1] + 1):
                if recorder.due(step=step):
                    recorder.record(model, step=step)
                batch = torch.randint(len(data.x), (32,))
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(model(data.x[batch])[:, 0], data.y[batch].float()).backward()
                optimizer.step()
        found = ak.results(folder)
    svm = found[["step", "seed", "kernel", "svm_test_error"]].set_axis(["step", "seed", "name", "error"], axis=1)
    network = found[found["kernel"] == "ntk"][["step", "seed", "net_test_error"]].assign(name="network")
    errors = pd.concat([svm, network.rename(columns={"net_test_error": "error"})], ignore_index=True)
    return errors.assign(name=errors["name"].map(NAMES), error=100 * errors["error"])


def picture(errors: pd.DataFrame) -> alt.Chart:
    """Mean test errors by step."""
    means = errors.groupby(["name", "step"], as_index=False)["error"].mean()
    ntk = means[means["name"] == "NTK"].set_index("step")["error"]
    base = alt.Chart(means, width=460, height=270).encode(
        alt.X("step", title="step of training", **places(means["step"], "linear")),
        alt.Y("error", title="test error (%, log)", **places([1, 2, 5, 10, 20, 50])),
        alt.Color("name", title=None)
        .scale(domain=list(NAMES.values()), range=[AFTER, THIRD, INK])
        .legend(orient="top"),
    )
    return titled(
        base.mark_line(point=True),
        f"The SVM's test error on the NTK {changes(ntk.iloc[0], ntk.iloc[-1], ' %')}",
        f"A small CNN on digits at random places, 3 against 8; mean over {errors['seed'].nunique()} initialisations",
    )


if __name__ == "__main__":
    main(compute, picture)
