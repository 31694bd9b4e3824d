"""Kernels that depend only on the images or the architecture: pixels, Gaussian, and the NTK of infinite width."""

import math

import pytest
import torch
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS, KernelInput, KernelKind, describe
from afterkernel.kernels import cross_grams, paired_products, train_test_grams
from afterkernel.kernels.derived import DerivedEmbedding, MeanProducts
from afterkernel.kernels.infinite_width import InfiniteWidthNTK, read_layers
from afterkernel.kernels.pixels import GaussianFunction, median_distance
from afterkernel.measures.invariance import invariance
from afterkernel.transforms import shift

CPU = torch.device("cpu")
SHAPE = (1, 5, 4)


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(30, *SHAPE, generator=generator)
    x[7] = x[3]  # equal images
    x[8] = x[4] * (1 + 1e-6)  # and nearly parallel ones
    return x


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ak.models.mlp(SHAPE, width=8, num_layers=3)


def recursion(x, y, depth):
    """The recursion of Jacot et al. in 50-digit arithmetic, for two images; biases trained, zero at the start."""
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 50
    x, y = ([mp.mpf(float(value)) for value in image.flatten()] for image in (x, y))
    dot = lambda a, b: sum(i * j for i, j in zip(a, b, strict=True))  # noqa: E731
    xx, xy, yy = (2 * dot(*pair) / len(x) for pair in ((x, x), (x, y), (y, y)))
    tangent = xy + 1
    for layer in range(depth):
        gain = 2 if layer < depth - 1 else 1
        cosine = xy / mp.sqrt(xx * yy)
        angle = mp.acos(min(cosine, mp.mpf(1)))
        product = mp.sqrt(xx * yy) * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / (2 * mp.pi)
        slope = (mp.pi - angle) / (2 * mp.pi)
        tangent = gain * product + 1 + gain * slope * tangent
        xx, xy, yy = gain * xx / 2, gain * product, gain * yy / 2
    return float(tangent)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_infinite_ntk_follows_the_recursion(images, depth):
    function = InfiniteWidthNTK((True,) * (depth + 1))
    rows = images.flatten(1).double()
    K = function(rows, rows)
    for i, j in [(0, 1), (2, 2), (3, 7), (4, 8), (5, 9)]:
        expected = recursion(images[i], images[j], depth)
        assert K[i, j].item() == pytest.approx(expected, rel=1e-13)
        assert function.paired(rows[i : i + 1], rows[j : j + 1]).item() == pytest.approx(expected, rel=1e-13)


def test_neural_tangents_published_formula():
    """Two-layer ReLU network on the sphere, no biases: T = u (pi - t) / pi scaled, (Arora et al., arXiv 1904.11955)."""
    x, y = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    u = 0.6
    angle = math.acos(u)
    kappa_0, kappa_1 = (math.pi - angle) / math.pi, (u * (math.pi - angle) + math.sqrt(1 - u * u)) / math.pi
    # Inputs are scaled by 1 / d = 1/2, and the output layer's gain of 1 halves what gain 2 would give.
    assert InfiniteWidthNTK((False, False))(x, y).item() == pytest.approx((u * kappa_0 + kappa_1) / 2, rel=1e-14)


@pytest.mark.parametrize("layers", [1, 3])
def test_wide_networks_come_close_to_it(images, layers):
    x = images[:6]
    rows = x.flatten(1).double()
    K = InfiniteWidthNTK((True,) * (layers + 1))(rows, rows)
    errors = []
    for width in (32, 512):
        found = []
        for seed in range(3):
            torch.manual_seed(seed)
            wide = ak.models.mlp(SHAPE, width=width, num_layers=layers, init="ntk")
            found.append(ak.ntk(wide, x, dtype=torch.float64))
        errors.append(float((torch.stack(found).mean(dim=0) - K).norm() / K.norm()))
    assert errors[1] < 0.05
    assert errors[1] < errors[0]


def test_an_image_of_zeros_reaches_the_last_bias_alone():
    torch.manual_seed(0)
    x = torch.stack([torch.zeros(SHAPE), torch.rand(SHAPE)])
    finite = ak.ntk(ak.models.mlp(SHAPE, width=500, num_layers=2, init="ntk"), x, dtype=torch.float64)
    rows = x.flatten(1).double()
    infinite = InfiniteWidthNTK((True, True, True))(rows, rows)
    assert infinite[0].tolist() == finite[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(20, 3), nn.Tanh(), nn.Linear(3, 1)),
        nn.Sequential(nn.Flatten(), nn.Linear(20, 3), nn.ReLU(), nn.Linear(3, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(20, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(12, 1)),
        nn.Linear(20, 3),
        ak.models.vgg((1, 8, 8), width=2),
        nn.Sequential(),
    ],
)
def test_other_networks_have_no_infinite_ntk(network):
    with pytest.raises(UserError, match=r"infinite_ntk exists only for fully connected ReLU networks"):
        KINDS["infinite_ntk"].check(network)


def test_layers_are_read_with_their_trained_biases(network):
    assert read_layers(network) == (True,) * 4
    chain = nn.Sequential(nn.Flatten(), nn.Linear(20, 3, bias=False), nn.ReLU(), nn.Linear(3, 1))
    assert read_layers(chain) == (False, True)
    chain[3].bias.requires_grad_(False)
    assert read_layers(chain) == (False, False)
    assert read_layers(nn.Sequential(nn.Flatten(), nn.Linear(20, 1))) == (True,)


def test_rbf_takes_the_median_distance(images):
    rows = images.flatten(1).double()
    distances = sorted(float((rows[i] - rows[j]).norm()) for i in range(30) for j in range(i))
    assert median_distance(images) == pytest.approx(distances[(len(distances) - 1) // 2], rel=1e-12)
    with pytest.raises(UserError, match="median distance is 0"):
        median_distance(torch.ones(5, *SHAPE))


ORACLES = {
    "linear": lambda x, y, _: x @ y.T,
    "rbf": lambda x, y, images: torch.exp(-((x[:, None] - y) ** 2).sum(2) / (2 * median_distance(images) ** 2)),
    "infinite_ntk": lambda x, y, _: InfiniteWidthNTK((True,) * 4)(x, y),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("budget", [2**30, 300_000])
def test_gram_matrices_through_the_engine(images, network, name, dtype, budget):
    phi = KINDS[name].embedding(KernelInput(network, images, dtype, CPU))
    x, y = images[:20], images[20:]
    rows = images.flatten(1).double()
    K = ORACLES[name](rows, rows, images)
    tolerance = {"float32": 3e-6, "float64": 1e-13}[dtype] * float(K.abs().max())
    grams = train_test_grams(phi, x, y, budget_bytes=budget, dtype=dtype)
    assert grams.train.dtype == getattr(torch, dtype)
    assert (grams.train.double() - K[:20, :20]).abs().max() <= tolerance
    assert (grams.test.double() - K[20:, :20]).abs().max() <= tolerance
    assert torch.equal(grams.train, grams.train.T)
    cross = cross_grams(phi, x, y, budget_bytes=budget, dtype=dtype).test
    assert (cross.double() - K[:20, 20:]).abs().max() <= tolerance
    paired = paired_products(phi, x, images[10:])
    assert (paired - K[range(20), range(10, 30)]).abs().max() <= tolerance


def test_invariances_are_those_of_the_function(images, network):
    phi = KINDS["rbf"].embedding(KernelInput(network, images, "float64", CPU))
    function, rows = GaussianFunction(median_distance(images)), images.double()
    moved = [shift(rows, 1, 0).flatten(1), shift(rows, 0, 1).flatten(1)]
    expected = torch.stack([function.paired(rows.flatten(1), each).mean() for each in moved]).mean() / (1 + 1e-4) ** 2
    assert invariance(phi, images.double(), "shift") == pytest.approx(float(expected), rel=1e-12)


def test_a_kernel_without_a_finite_embedding_reports_it(images, network):
    phi = KINDS["rbf"].embedding(KernelInput(network, images, "float64", CPU))
    with pytest.raises(UserError, match="kernel=rbf has no embedding"):
        phi(images)


class CentredNTK(KernelKind):
    """A kernel as a plugin declares it: the NTK, centred by the mean over the training images."""

    name = "centred_ntk"
    title = "Centred NTK"
    definition = "the NTK of gradients minus their mean over the training images"

    def embedding(self, given):
        phi = given.of_network("ntk")
        mean = MeanProducts(phi, given.images)
        return DerivedEmbedding(self.name, phi, mean, lambda k, x, y: k - x - y + mean.square)


@pytest.fixture(params=["mlp", "vgg"])
def deep(request):
    torch.manual_seed(1)
    return ak.models.mlp(SHAPE, width=8, num_layers=2) if request.param == "mlp" else ak.models.vgg(SHAPE, width=2)


def test_a_centred_kernel_is_one_class(images, deep):
    x, y = images[:20], images[20:]
    K, C = ak.ntk(deep, x, dtype=torch.float64), ak.ntk(deep, y, x, dtype=torch.float64)
    rows, total = K.mean(1), K.mean()
    expected = K - rows - rows[:, None] + total
    expected_test = C - rows - C.mean(1, keepdim=True) + total  # training statistics, also for test rows
    for dtype, budget, bar in (("float64", 2**30, 1e-12), ("float64", 700_000, 1e-12), ("float32", 2**30, 3e-5)):
        phi = CentredNTK().embedding(KernelInput(deep, x, dtype, CPU))
        grams = train_test_grams(phi, x, y, budget_bytes=budget)
        assert (grams.train.double() - expected).abs().max() <= bar * K.abs().max()
        assert (grams.test.double() - expected_test).abs().max() <= bar * K.abs().max()
        assert torch.equal(grams.train, grams.train.T)
        assert grams.relative_error < 1e-3


def test_its_invariances_are_its_own(images, deep):
    x = images[:20].double()
    plain = KINDS["ntk"].embedding(KernelInput(deep, x, "float64", CPU))
    mean = plain(x).mean(0)
    a, down, right = (plain(each) - mean for each in (x, shift(x, 0, 1), shift(x, 1, 0)))
    length = lambda rows: rows.norm(dim=1) + 1e-4  # noqa: E731
    cosines = [((a * moved).sum(1) / (length(a) * length(moved))).mean() for moved in (down, right)]
    phi = CentredNTK().embedding(KernelInput(deep, x, "float64", CPU))
    assert invariance(phi, x, "shift") == pytest.approx(float(sum(cosines)) / 2, rel=1e-10)
    assert invariance(phi, x, "shift") != pytest.approx(invariance(plain, x, "shift"), rel=1e-3)


def test_a_centred_kernel_is_kept_on_disk(images, deep, tmp_path):
    phi = CentredNTK().embedding(KernelInput(deep, images, "float32", CPU))
    first = train_test_grams(phi, images, store=tmp_path).train.clone()
    assert torch.equal(train_test_grams(phi, images, store=tmp_path).train, first)
    with pytest.raises(UserError, match="another job"):
        train_test_grams(phi.phi, images, store=tmp_path)


def test_tiles_of_one_derived_kernel_are_not_taken_for_those_of_another(images, deep, tmp_path):
    phi = KernelInput(deep, images, "float32", CPU).of_network("ntk")
    length = lambda x, block: block.paired_products(block)  # noqa: E731
    same = DerivedEmbedding("same", phi, length, lambda k, x, y: k)
    squared = DerivedEmbedding("squared", phi, length, lambda k, x, y: k.square() / (x * y).sqrt())  # as long
    train_test_grams(same, images, store=tmp_path)
    with pytest.raises(UserError, match="another job: its derived is same, not squared"):
        train_test_grams(squared, images, store=tmp_path)


def test_texts_that_a_kernel_leaves_out():
    assert (CentredNTK.label, CentredNTK.start_label) == ("centred_ntk", "centred_ntk at initialisation")
    assert KINDS["infinite_ntk"].start_label == "infinite NTK"
    assert KINDS["conjugate"].start_label == "CK at initialisation"


def test_every_kernel_has_its_texts():
    for name, kind in KINDS.items():
        assert name == kind.name
        assert all((kind.label, kind.title, kind.start_label, kind.definition)), name
    assert describe("mine").title == "mine"
    assert [name for name, kind in KINDS.items() if kind.by_default] == ["ntk", "conjugate"]
