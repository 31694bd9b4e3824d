"""Calls of the library with arguments of the wrong kind, each with the expected message.

Run as a program, without the tests' checks of types, which would fail first: it prints the messages that differ.
"""

import re

import numpy as np
import scipy.sparse
import torch
from torch import nn

import afterkernel as ak
from afterkernel.kernels import layer_ntks, paired_ntk

X = torch.linspace(0.1, 0.9, 20).view(5, 4)
MISSING = X.clone()
MISSING[3, 1] = torch.nan
IMAGES = torch.linspace(0.1, 0.9, 80).view(5, 1, 4, 4)
K = torch.eye(4, dtype=torch.float64) + 1
Y = torch.tensor([0, 1, 0, 1])


def net(outputs=1, inputs=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 3), nn.ReLU(), nn.Linear(3, outputs))


class Gives(nn.Module):
    """A model that returns something made of its output."""

    def __init__(self, made):
        super().__init__()
        self.a, self.made = nn.Linear(4, 1), made

    def forward(self, x):
        """The object made of the output."""
        return self.made(self.a(x))


class Bare(nn.Module):
    """A module that never called its base class."""

    def __init__(self):
        self.size = 3


def invariance(transform="shift", **options):
    return ak.invariance(net(inputs=16), IMAGES, transform, **options)


def svm(K=K, y=Y, **options):
    return ak.HardMarginSVM(**options).fit(K, y)


def kernels(x, y=None, **options):
    """The call of every kernel function."""
    return [lambda f=f: f(net(), x, y, **options) for f in (ak.ntk, layer_ntks, ak.conjugate_kernel)]


def unknown_device(device):
    return kernels(
        X, device=device
    ), f'device={device!r} is not known: give "cpu", "cuda" or "cuda:0", or leave it out.'


BYTES = "is not a number of bytes: give an integer, such as 2**30."
FOLDER = "is not the name of a folder: give a string or a pathlib.Path."
NO_NUMBERS = "that holds no numbers: give a tensor or an array."
SHIFT = (
    "is not one of transform='shift': it must be a number above 0, such as 1, and less than the side of the images in "
    "pixels."
)

CALLS = {
    "a sparse input": (kernels(X.to_sparse()), "x is not a dense tensor: convert it by x.to_dense()."),
    "a nested input": (
        kernels(torch.nested.nested_tensor([X[0], X[1]])),
        "x is not a dense tensor: convert it by x.to_padded_tensor(0.0).",
    ),
    "an input without numbers": (
        kernels(X.to("meta")),
        "x is on the device meta, which holds no numbers: give it on a real device.",
    ),
    "a list of samples": (
        kernels([X]),
        "x is a list: give a tensor, a tuple of the model's positional arguments, a dict of its keyword arguments, or "
        "any pytree of tensors with forward=lambda model, batch: tensor.",
    ),
    "tensors of other lengths": (
        kernels({"x": X, "mask": X[:2]}),
        "x['x'] has shape (5, 4) and x['mask'] (2, 4): all tensors of x have the samples as first dimension; put a "
        "constant into forward=lambda model, batch: ...",
    ),
    "a constant among the samples": (
        kernels((X, 0.5)),
        "x[1] is a float, not a tensor of samples: convert it with torch.as_tensor, or, if it is a constant, put it "
        "into forward=lambda model, batch: ...",
    ),
    "a number for forward": (
        kernels(X, forward=5),
        "forward=5 is an int: give a function of (model, batch), such as lambda model, batch: model(batch).",
    ),
    "an output without a name": (
        [lambda: ak.ntk(net(), X, output="mean")],
        'output=\'mean\' is not known: give the number of a logit, "trace", "sum", "full" or "diagonal".',
    ),
    "a parameter that is not there": (
        [lambda: ak.ntk(net(), X, parameters="1.wieght"), lambda: layer_ntks(net(), X, parameters=["1.wieght"])],
        "parameters='1.wieght' is no parameter or module of the model: did you mean '1.weight'...?",
    ),
    "a number for parameters": (
        [lambda: ak.ntk(net(), X, parameters=5)],
        'parameters=5 chooses no parameters: give names, patterns such as "*.bias", or a function of (name, '
        "parameter).",
    ),
    "a list for a vector": (
        [lambda: ak.ntk_operator(net(), X) @ [1.0]],
        "v is a list: give a tensor or a numpy array.",
    ),
    "y of another structure": (
        kernels({"x": X}, (X,)),
        "x holds x['x'] and y y[0]: give y in the structure of x.",
    ),
    "y of another width": (
        kernels(X, torch.rand(3, 7)),
        "y has samples of shape (7,), which the model does not take (...): give samples like those of x.",
    ),
    "y of another width in pairs": (
        [lambda: paired_ntk(net(), X, torch.rand(5, 7))],
        "y has samples of shape (7,), which the model does not take (...): give samples like those of x.",
    ),
    "a device of another kind": unknown_device("tpu"),
    "a device without a name": unknown_device(""),
    "a number for a device": unknown_device(3.5),
    "a list for a device": unknown_device(["cpu"]),
    "a device that holds no numbers": (
        kernels(X, device="meta"),
        "device='meta' can't be computed on here: use device=\"cpu\".",
    ),
    "a device that torch was not built for": (
        kernels(X, device="xla"),
        "device='xla' can't be computed on here: use device=\"cpu\".",
    ),
    "a budget in words": (kernels(X, budget_bytes="1GB"), f"budget_bytes='1GB' {BYTES}"),
    "no budget": (kernels(X, budget_bytes=None), f"budget_bytes=None {BYTES}"),
    "a budget that is true": (kernels(X, budget_bytes=True), f"budget_bytes=True {BYTES}"),
    "an infinite budget": (kernels(X, budget_bytes=float("inf")), f"budget_bytes=inf {BYTES}"),
    "a budget that is not a number": (kernels(X, budget_bytes=float("nan")), f"budget_bytes=nan {BYTES}"),
    "a number for a store": (kernels(X, store=5), f"store=5 {FOLDER}"),
    "bytes for a store": (kernels(X, store=b"a"), f"store=b'a' {FOLDER}"),
    "a store without a name": (kernels(X, store=""), f"store='' {FOLDER}"),
    "a zero byte in a store's name": (kernels(X, store="a\0b"), f"store='a\\x00b' {FOLDER}"),
    "a sketch without numbers": (
        [lambda: ak.sketch(net(), X, 0)],
        "dim=0 is not the length of a sketch: give an integer from 1 to 16777216.",
    ),
    "a negative seed of a sketch": (
        [lambda: ak.sketch(net(), X, seed=-1)],
        "seed=-1 is not a seed: give an integer of at least 0.",
    ),
    "a sketch in half precision": (
        [lambda: ak.sketch(net(), X, dtype="bf16")],
        "dtype=bf16 is a precision of products, which a sketch has none of: choose float32.",
    ),
    "sketches of two maps": (
        [lambda: ak.sketch(net(), X, 8, details=True).kernel(ak.sketch(net(), X, 9, details=True))],
        "the two sketches are not by the same random map: take the same model, output, dim and seed for both.",
    ),
    "a result of another shape": (
        [lambda: ak.ntk(net(), X, out=torch.zeros(4, 5))],
        "out= is (4, 5) in float32, and the result is (5, 5) in float32: give a matrix like that, or a path.",
    ),
    "a number for the place of a result": (
        [lambda: ak.ntk(net(), X, out=5)],
        "out=5 is not a place for a matrix: give the path of a new file or a tensor.",
    ),
    "a folder for the place of a result": (
        [lambda: ak.ntk(net(), X, out="/")],
        "out=/ exists: name a new file.",
    ),
    "a model without numbers": (
        [lambda: ak.ntk(net().to("meta"), X), lambda: ak.conjugate_kernel(net().to("meta"), X)],
        "the model is on the device meta, which holds no numbers: load its weights first.",
    ),
    "a model that was not initialised": (
        [lambda: ak.ntk(Bare(), X), lambda: ak.conjugate_kernel(Bare(), X)],
        "the Bare is not initialised: call super().__init__() in its __init__.",
    ),
    "a model that gives nothing": (
        [lambda: ak.ntk(Gives(lambda out: None), X)],
        "the model gives a NoneType, not a tensor or an object with logits, so it is unclear what its kernel is: give "
        "forward=lambda model, batch: tensor, such as lambda model, x: model(x).name.",
    ),
    "a model without outputs": (
        [lambda: ak.ntk(Gives(lambda out: out[:, :0]), X)],
        "the model's output has shape (..., 0): it holds no output for a sample.",
    ),
    "a list for a transform": (
        [lambda: invariance(["shift"])],
        "transform=['shift'] is not known: choose one of shift, rotation, zoom, swap.",
    ),
    "a strength in words": ([lambda: invariance(strength="x")], f"strength='x' {SHIFT}"),
    "a strength that is true": ([lambda: invariance(strength=True)], f"strength=True {SHIFT}"),
    "an infinite strength": ([lambda: invariance(strength=float("inf"))], f"strength=inf {SHIFT}"),
    "a shift out of the frame": ([lambda: invariance(strength=4)], f"strength=4 {SHIFT}"),
    "a turn of more than a half": (
        [lambda: invariance("rotation", strength=7.0)],
        "strength=7.0 is not one of transform='rotation': it must be a number above 0, such as 0.25, and at most pi.",
    ),
    "a zoom that keeps no pixel": (
        [lambda: invariance("zoom", strength=1e-9)],
        "strength=1e-09 is not one of transform='zoom': it must be a number above 0, such as 0.9286, at most 1, and "
        "keep a pixel of the images.",
    ),
    "no image at once": (
        [lambda: invariance(images_at_once=0)],
        "images_at_once=0 is not a number of images: give an integer of at least 1.",
    ),
    "a part of an image at once": (
        [lambda: invariance(images_at_once=1.5)],
        "images_at_once=1.5 is not a number of images: give an integer of at least 1.",
    ),
    "images that are not numbers": (
        [lambda: ak.invariance(net(inputs=16), IMAGES * float("nan"), "swap")],
        "x holds NaN or infinity: every pixel must be finite.",
    ),
    "an infinite shift of images": (
        [lambda: ak.transforms.shift(IMAGES, float("inf"))],
        "an angle or a shift is NaN or infinite: give finite numbers.",
    ),
    "an array for images": (
        [lambda: ak.transforms.rotate(IMAGES.numpy(), 0.1), lambda: ak.transforms.swap(IMAGES.numpy())],
        "images are floats of shape (n, c, h, w); this is a ndarray.",
    ),
    "no kernel for an SVM": (
        [lambda: svm(K=None), lambda: ak.KernelRidge().fit(None, Y)],
        f"K is a NoneType {NO_NUMBERS}",
    ),
    "no labels for an SVM": (
        [lambda: svm(y=None), lambda: ak.HardMarginSVM().fit(K.numpy(), None)],
        "This HardMarginSVM estimator requires y to be passed, but the target y is None.",
    ),
    "labels of several types": (
        [lambda: svm(y=np.array(["a", 1, "b", 2], dtype=object))],
        "y holds labels of several types, which have no order: give labels of one type.",
    ),
    "a continuous target": (
        [lambda: svm(y=torch.tensor([0, 0.5, 1, 1]))],
        "y holds the labels 0.0, 0.5, 1.0: a continuous target has no classes.",
    ),
    "one class": (
        [lambda: svm(y=[1, 1, 1, 1]), lambda: ak.OneVsRestSVM().fit(K, torch.ones(4))],
        "y holds only one class, 1...: a classifier needs at least two.",
    ),
    "three classes for two": (
        [lambda: svm(y=[1, 2, 3, 3])],
        "Only binary classification is supported: HardMarginSVM needs two classes, and y holds 3 (1, 2, 3); "
        "OneVsRestSVM fits several.",
    ),
    "words for a kernel": (
        [lambda: svm(K="words"), lambda: ak.KernelRidge().fit(K, Y).predict("words")],
        f"K... is a str {NO_NUMBERS}",
    ),
    "a sparse array for an SVM": (
        [lambda: svm(K=scipy.sparse.csr_array(K)), lambda: ak.SoftMarginPath().fit(scipy.sparse.eye(4).tocsr(), Y)],
        "Sparse data was passed for K, but dense data is required. Use '.toarray()' to convert to a dense numpy array.",
    ),
    "weights for a hard margin": (
        [lambda: ak.HardMarginSVM().fit(K, Y, sample_weight=[1, 1, 1, 2])],
        "HardMarginSVM takes no sample_weight: a hard margin holds for every sample alike; SoftMarginPath and "
        "KernelRidge take weights.",
    ),
    "a negative weight": (
        [
            lambda fit=fit: fit(K, Y, sample_weight=[1, 1, 1, -2])
            for fit in (ak.KernelRidge().fit, ak.SoftMarginPath().fit)
        ],
        "sample_weight holds a number that is negative or not finite: each must be at least 0.",
    ),
    "an SVM that was not fitted": (
        [lambda: ak.HardMarginSVM().predict(K)],
        "HardMarginSVM is not fitted: call fit(K, y) first.",
    ),
    "a sparse kernel for an SVM": (
        [lambda: svm(K=K.to_sparse())],
        "K is not a dense tensor with numbers: give K.to_dense(), on a real device.",
    ),
    "a backend with a typing mistake": (
        [lambda: svm(backend="libsvn")],
        "backend=libsvn is not known (did you mean libsvm?): choose one of ...",
    ),
    "weights for a model": (
        [
            lambda f=f: f(net().state_dict(), X)
            for f in (ak.ntk, layer_ntks, ak.conjugate_kernel, ak.sketch, ak.ntk_operator)
        ],
        "the first argument is an OrderedDict, not a torch.nn.Module: build the network, load the weights by "
        "network.load_state_dict(...), and give the network.",
    ),
    "samples with their labels": (
        kernels((X, torch.arange(5))),
        "the model can't be run on these samples (TypeError: ... takes 2 positional arguments but 3 were given); a "
        "tuple is passed to the model as several arguments: give the samples alone, without labels.",
    ),
    "a sample that is not finite": (
        [
            *kernels(MISSING),
            lambda: ak.sketch(net(), MISSING, dim=8),
            lambda: ak.ntk_operator(net(), MISSING),
            lambda: paired_ntk(net(), MISSING, X),
        ],
        "x holds NaN or infinity in sample 3, and so the embedding of ... sample 3 is not finite in layer ...: give "
        "finite numbers.",
    ),
    "a second argument that is not finite": (
        kernels(X, MISSING),
        "y holds NaN or infinity in sample 3, and so the embedding of ... sample 3 is not finite in layer ...: give "
        "finite numbers.",
    ),
    "a number for a backend": ([lambda: svm(backend=5)], "backend=5 is not known: choose one of ..."),
    "a test kernel for a kernel": (
        [lambda: ak.normalise(K[:, :3])],
        "K has shape (4, 3): give the Gram matrix (n, n) of the training samples.",
    ),
    "a test kernel of other samples": (
        [lambda: ak.normalise(K, K[:, :3])],
        "K_test has shape (4, 3): with 4 training samples it must be (m, 4).",
    ),
    "an array for a measure": (
        [lambda: ak.alignment(K.numpy(), K), lambda: ak.cka(K.numpy(), K), lambda: ak.spectrum(K.numpy())],
        "K is a ndarray, not a torch tensor: convert it with torch.as_tensor.",
    ),
    "complex numbers for a measure": (
        [lambda: ak.alignment(K.to(torch.complex128), K), lambda: ak.effective_rank(K.to(torch.complex128))],
        "K must be a dense tensor of real numbers.",
    ),
    "a list of labels for a measure": (
        [lambda: ak.target_alignment(K, Y.tolist())],
        "y is a list, not a torch tensor: convert it with torch.as_tensor.",
    ),
    "a number for a folder of results": (
        [lambda: ak.results(5), lambda: ak.sql(5, "select 1")],
        "5 is not a directory: name a run, a sweep, or the folder of all sweeps.",
    ),
    "results without a folder": (
        [lambda: ak.results("")],
        "'' is not a directory: name a run, a sweep, or the folder of all sweeps.",
    ),
}


def answer_of(call):
    try:
        return f"no error: {call()}"
    except ak.UserError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main():
    """Print the calls with other messages."""
    for name, (calls, sentence) in CALLS.items():
        pattern = ".*".join(map(re.escape, sentence.split("...")))
        for number, call in enumerate(calls):
            if re.fullmatch(pattern, answer := answer_of(call)) is None:
                print(f"{name} ({number}): {answer!r}")


if __name__ == "__main__":
    main()
