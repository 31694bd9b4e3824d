"""Made-up rows of results, as claims get them: runs by epoch, and runs with snapshots at losses."""

import itertools
import math

import numpy as np
import pandas as pd

from afterkernel.claims import CLAIMS, judge

SEEDS = range(10)
MEASURES = ["svm_test_error", *(f"{name}_invariance" for name in ("shift", "rotation", "zoom", "swap"))]
_SOUND = {"converged": True, "separable": True, "gap": 1e-9, "n_test": 500, "training_failure": ""}


def rows(
    value,
    *,
    nets=("vgg", "mlp"),
    rates=(0.1,),
    seeds=SEEDS,
    epochs=(0, 5, 10),
    augment=("none",),
    pairs=("3/8",),
    losses=(),
):
    """A frame of results: `value(measure, arch=, rate=, seed=, epoch=, kernel=, augment=, pair=)` gives each number."""
    found = []
    grid = itertools.product(pairs, nets, rates, augment, seeds, epochs, ("ntk", "conjugate"))
    for pair, arch, rate, aug, seed, epoch, kernel in grid:
        where = {"arch": arch, "rate": rate, "seed": seed, "epoch": epoch, "pair": pair}
        where |= {"kernel": kernel, "augment": aug}
        found.append(
            {
                **_of_run(pair, arch, rate, seed, aug),
                "epoch": epoch,
                "step": 10 * epoch,
                "final": epoch == max(epochs),
                "kernel": kernel,
                "losses": losses,
                "loss_target": np.nan,
                "train_loss": 0.69 * 0.5**epoch,
                **{measure: value(measure, **where) for measure in MEASURES},
            }
        )
    return pd.DataFrame(found)


def at_losses(value, paths, *, losses, seeds=SEEDS, augment=("none",), arch="vgg", target=np.nan, init=0.69):
    """A frame of runs with snapshots: `paths(rate, seed, augment)` gives the losses of a run's snapshots by rate.

    `value(measure, rate=, seed=, augment=, loss=)` gives each number; `paths` is a mapping from rate to that function.
    """
    found = []
    for (rate, path), aug, seed in itertools.product(paths.items(), augment, seeds):
        reached = [init, *path(seed, aug)]
        for place, loss in enumerate(reached):
            where = {"rate": rate, "seed": seed, "augment": aug, "loss": loss}
            found.append(
                {
                    **_of_run("3/8", arch, rate, seed, aug),
                    "epoch": place / 20,
                    "step": place,
                    "final": place == len(reached) - 1,
                    "kernel": "ntk",
                    "losses": losses,
                    "loss_target": target,
                    "train_loss": loss,
                    **{measure: value(measure, **where) for measure in MEASURES},
                }
            )
    return pd.DataFrame(found)


def _of_run(pair, arch, rate, seed, augment):
    minus, plus = pair.split("/")
    names = {"dataset": "mnist", "minus": minus, "plus": plus, "setting": arch, "arch": arch}
    return names | {"learning_rate": rate, "seed": seed, "augment": augment} | _SOUND


def checked(generator, rate, losses, target):
    """Losses of the snapshots of a run that looks at its loss at regular steps, by the rule of `snapshot.losses`.

    Between two looks a larger rate takes the loss further down. At the first look at or below a loss the nearer of this
    look and the one before is kept, in log loss; the run ends at the first at or below its target.
    """
    looks = [0.69]
    while looks[-1] > target:
        looks.append(looks[-1] * math.exp(-2.0 * rate * generator.uniform(0.6, 1.4)))
    kept = set()
    for loss in losses:
        first = next(place for place, look in enumerate(looks) if look <= loss)
        before, after = (abs(math.log(looks[place] / loss)) for place in (first - 1, first))
        kept.add(first if after <= before or first == 1 else first - 1)
    return [looks[place] for place in sorted(kept | {len(looks) - 1})]


def wobble(*key, size=0.001):
    """A number that noise gives this key, which may hold words."""
    return size * np.random.default_rng([hash_of(one) for one in key]).normal()


def hash_of(word):
    return sum(ord(letter) * 31**place for place, letter in enumerate(str(word)))


def finding(name, frame):
    return judge(CLAIMS[name], frame)


def verdicts(found):
    return [part.verdict for part in found.parts]
