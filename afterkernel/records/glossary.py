"""What every column of the results and every measure means, and in which unit: the one place where that is said.

The page of definitions, the notes of W&B runs and the titles of dashboards are drawn from here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

SHARE, COSINE, SECONDS = "share in [0, 1]", "mean cosine in [-1, 1]", "s"
# Topics, in the order in which a dashboard shows them; the last two are no numbers to plot.
TOPICS = {
    "network": "Network",
    "error": "Test errors",
    "invariance": "Invariances",
    "alignment": "Alignment",
    "spectrum": "Spectrum and effective rank",
    "distance": "Distance and velocity",
    "svm": "Health of the SVMs",
    "other": "Other measures",
    "cost": "Costs",
    "run": "The run",
    "note": "Notes",
}


@dataclasses.dataclass(frozen=True)
class Term:
    """A column or a measure: `name`, where N is any number, its `title`, `unit` ("" for none) and topic.

    Of one that a number is part of, `family` is the title of all of them together.
    """

    name: str
    title: str
    unit: str
    topic: str
    family: str = ""

    @property
    def words(self) -> str:
        """The title, followed by the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


TERMS = [
    Term("run_id", "id of the run: what decides its numbers, hashed", "", "run"),
    Term("evaluation_id", "id of the evaluation: options of kernel, SVM and measures, hashed", "", "run"),
    Term("sweep", "name of the sweep", "", "run"),
    Term("dataset", "data set", "", "run"),
    Term("minus", "class of label 0", "", "run"),
    Term("plus", "class of label 1", "", "run"),
    Term("n_train", "training images", "images", "run"),
    Term("n_test", "test images", "images", "run"),
    Term("arch", "architecture", "", "run"),
    Term("width", "width of the network", "", "run"),
    Term("parameters", "trainable parameters", "", "run"),
    Term("learning_rate", "learning rate of SGD", "", "run"),
    Term("seed", "seed of initialisation, order of images and augmentation", "", "run"),
    Term("epoch", "epochs of training up to the snapshot; 0 is the initialisation", "epochs", "run"),
    Term("step", "steps of SGD up to the snapshot", "steps", "network"),
    Term("final", "whether the snapshot ends the run", "", "run"),
    Term("train_loss", "cross-entropy on the training set", "nats", "network"),
    Term("net_train_error", "training error of the network itself", SHARE, "network"),
    Term("net_test_error", "test error of the network itself", SHARE, "network"),
    Term("wall_s_train", "time of training up to the snapshot", SECONDS, "cost"),
    Term("config_sha256", "SHA-256 of the options that decide numbers; run_id ends in its first digits", "", "run"),
    Term("commit", "commit of afterkernel", "", "run"),
    Term("device", "what computed it", "", "run"),
    Term("kernel", "name of the kernel, such as ntk (NTK at epoch 0, after kernel later) or conjugate (CK)", "", "run"),
    Term("svm_backend", "solver of the SVM", "", "run"),
    Term("svm_intercept", "whether the SVM has an intercept", "0 or 1", "svm"),
    Term("svm_test_error", "test error of the hard-margin SVM on the kernel", SHARE, "error"),
    Term("svm_train_error", "training error of the SVM", SHARE, "svm"),
    Term("margin", "margin of the SVM on the normalised embedding", "", "svm"),
    Term("gap", "relative duality gap of the SVM, certified outside the solver", "", "svm"),
    Term("n_support", "support vectors", "images", "svm"),
    Term("separable", "whether the training data are separable", "0 or 1", "svm"),
    Term("converged", "whether the gap is within svm.tol", "0 or 1", "svm"),
    Term("svm_path", "how the SVM was solved", "", "note"),
    Term("embedding_norm", "what the embedding is divided by: 1e-4 + its mean norm on the training set", "", "svm"),
    Term("shift_invariance", "invariance under a shift", COSINE, "invariance"),
    Term("rotation_invariance", "invariance under a rotation", COSINE, "invariance"),
    Term("zoom_invariance", "invariance under a zoom", COSINE, "invariance"),
    Term("swap_invariance", "invariance under a swap of two quadrants; lower is more global", COSINE, "invariance"),
    Term("effective_rank", "effective rank: trace / largest eigenvalue", "", "spectrum"),
    Term(
        "kernel_error",
        "largest rounding error in products of sampled entries, relative to the largest entry; blind to ReLU switches",
        "",
        "svm",
    ),
    Term("alignment_with_ntk", "alignment with the NTK or after kernel of the snapshot", "", "alignment"),
    Term("alignment_with_conjugate", "alignment with the conjugate kernel of the snapshot", "", "alignment"),
    Term("alignment_with_initial_ntk", "alignment with the NTK at epoch 0", "", "alignment"),
    Term("alignment_with_initial_conjugate", "alignment with the conjugate kernel at epoch 0", "", "alignment"),
    Term("cka_with_ntk", "CKA with the NTK or after kernel of the snapshot", "", "alignment"),
    Term("cka_with_conjugate", "CKA with the conjugate kernel of the snapshot", "", "alignment"),
    Term("cka_with_initial_ntk", "CKA with the NTK at epoch 0", "", "alignment"),
    Term("cka_with_initial_conjugate", "CKA with the conjugate kernel at epoch 0", "", "alignment"),
    Term("target_alignment", "alignment with the labels", "", "alignment"),
    Term("target_cka", "CKA with the labels", "", "alignment"),
    Term("distance_to_initial", "distance to the same kernel at epoch 0: 1 - alignment", "", "distance"),
    Term("kernel_velocity", "distance to the snapshot before, an epoch", "1 / epoch", "distance"),
    Term("ridge_test_error", "test error of kernel ridge regression on the sample", SHARE, "error"),
    Term("ridge_loo_error", "leave-one-out error of kernel ridge regression on the sample", SHARE, "error"),
    Term("ridge", "ridge of least leave-one-out error, relative to the largest diagonal entry", "", "error"),
    Term("decay_exponent", "decay exponent of the eigenvalues", "", "spectrum"),
    Term("warnings", "what is numerically doubtful", "", "note"),
    Term("measures", "what depends on options, by name, as JSON: the rows below", "", "note"),
    Term("wall_s_kernel", "time of the Gram matrices", SECONDS, "cost"),
    Term("wall_s_svm", "time of the SVM", SECONDS, "cost"),
    Term("wall_s_measures", "time of the measures", SECONDS, "cost"),
    Term("peak_bytes", "peak memory of the process so far, or of the GPU", "bytes", "cost"),
    Term("schema_version", "version of the record", "", "run"),
]
# Entries of `measures`.
OPTIONAL = [
    Term("shift_Npx_invariance", "invariance under a shift by N pixels", COSINE, "invariance"),
    Term("rotation_Nrad_invariance", "invariance under a rotation by N rad", COSINE, "invariance"),
    Term("zoom_N_invariance", "invariance under a crop to N of a side", COSINE, "invariance"),
    Term("eigenvalue_N", "eigenvalue N of K / n", "", "spectrum", "leading eigenvalues of K / n"),
    Term("label_energy_N", "share of the labels' energy in the leading N eigenvectors", SHARE, "spectrum"),
]
BY_NAME = {term.name: term for term in TERMS}
_NUMBER = r"(\d[\d.e+-]*)"
_PATTERNS = [(re.compile(re.escape(term.name).replace("N", _NUMBER, 1)), term) for term in OPTIONAL]


def term(name: str) -> Term:
    """The term of a column or measure; of LAYER/NAME that of NAME, with the layer in its title.

    A measure that is not listed, such as a user's own, is called by its name.
    """
    layer, _, bare = name.rpartition("/")
    found = BY_NAME.get(bare) or _numbered(bare) or Term(name, bare.replace("_", " "), "", "other")
    return dataclasses.replace(found, name=name, title=f"{found.title}, layer {layer}") if layer else found


def markdown(terms: Iterable[Term]) -> str:
    """A Markdown table: name, meaning, unit."""
    lines = ["| name | meaning | unit |", "| --- | --- | --- |"]
    lines += [f"| `{one.name}` | {one.title} | {one.unit} |" for one in terms]
    return "\n".join(lines)


def _numbered(name: str) -> Term | None:
    for pattern, found in _PATTERNS:
        match = pattern.fullmatch(name)
        if match:
            title = re.sub(r"\bN\b", match[1], found.title)
            return dataclasses.replace(found, name=name, title=title, family=found.family or found.title)
    return None
