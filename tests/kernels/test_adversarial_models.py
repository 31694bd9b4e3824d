"""Models written to mislead the engine: each kernel is that of single samples, or refused for the right reason."""

import random
import warnings

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net, gradients, relative_error
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

import afterkernel as ak
from afterkernel.errors import PrecisionWarning, UserError
from afterkernel.kernels import layer_ntks, paired_ntk
from afterkernel.measures.invariance import NORM_OFFSET, TRANSFORMS

BARS = {torch.float64: 1e-12, torch.float32: 1e-5}
CALLS = []


def vectors(n):
    return torch.rand(n, 4)


def signed(n):
    return 3 * torch.randn(n, 4)


def sequences(n):
    return torch.rand(n, 5, 4)


def images(n):
    return torch.rand(n, 1, 6, 6)


def one(**more):
    return {"a": nn.Linear(4, 4), **more}


def plain(net, x):
    return torch.tanh(net.a(x))


def model_of(hidden, parts):
    torch.manual_seed(0)
    return Net(lambda s, x: s.b(hidden(s, x)), **parts(), b=nn.Linear(4, 1)).eval()


def some_rows(net, x):
    """Rows are picked and put back by where they are in the batch."""
    chosen = (x[:, 0] > 0.3).nonzero()[:, 0]
    h = net.a(x)
    return h.index_put((chosen,), torch.tanh(h[chosen]))


def experts(net, x):
    gate = torch.softmax(net.a(x), 1)
    best, out = gate.argmax(1), torch.zeros_like(x)
    for j, expert in enumerate(net.e):
        mask = best == j
        if mask.any():
            out[mask] = expert(x[mask]) * gate[mask][:, j : j + 1]
    return torch.tanh(out)


def in_own_memory(net, x):
    net.buffer[: len(x)] = x
    return plain(net, net.buffer[: len(x)])


def counted(net, x):
    """Its first answer is the one of the model as it was given."""
    net.calls = getattr(net, "calls", 0) + 1
    return plain(net, x) * net.calls


def counted_in_a_buffer(net, x):
    net.count += 1
    return plain(net, x) * net.count


def cached(net, x):
    """What was computed for one batch is given for another of the same shape."""
    if tuple(x.shape) not in net.cache:
        net.cache[tuple(x.shape)] = plain(net, x)
    return net.cache[tuple(x.shape)]


def of_the_batch_before(net, x):
    before, net.before = getattr(net, "before", 0), x.mean().item()
    return plain(net, x) * (1 + before)


def nested(net, x, reentrant):
    def outer(z):
        return torch.tanh(net.c(checkpoint(lambda y: plain(net, y), z, use_reentrant=reentrant)))

    return checkpoint(outer, x, use_reentrant=reentrant)


def shared():
    parts = one(c=nn.Linear(4, 4))
    parts["c"].weight = parts["a"].weight
    return parts


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight + weight.T


class Scaled(nn.Module):
    def forward(self, weight):
        return 1.5 * weight


def parametrized():
    layer = nn.Linear(4, 4)
    for part in (Symmetric(), Scaled()):
        parametrize.register_parametrization(layer, "weight", part)
    return {"a": layer}


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight, grad.T @ x


def rounded(net, x):
    h = net.a(x)
    return h + (h.round() - h).detach()


def shifted_by_rows(net, x):
    return plain(net, x + torch.rand(4, generator=torch.Generator().manual_seed(0)).to(x))


def stacked(net, x):
    return torch.tanh(net.c(plain(net, x)))


# Hidden layer, its parts, inputs; and the same without checkpoints and state where autograd alone can't know it.
RIGHT = {
    "some-rows": (some_rows, one, vectors, None),
    "experts": (experts, lambda: one(e=nn.ModuleList(nn.Linear(4, 4) for _ in range(4))), vectors, None),
    "own-memory": (in_own_memory, lambda: one(buffer=nn.Buffer(torch.zeros(50, 4))), vectors, None),
    "counted": (counted, one, vectors, plain),
    "counted-in-a-buffer": (counted_in_a_buffer, lambda: one(count=nn.Buffer(torch.zeros(()))), vectors, plain),
    "cached": (cached, lambda: one(cache={}), vectors, plain),
    "batch-before": (of_the_batch_before, one, vectors, plain),
    "nested-checkpoints": (lambda s, x: nested(s, x, False), lambda: one(c=nn.Linear(4, 4)), vectors, stacked),
    "nested-reentrant": (lambda s, x: nested(s, x, True), lambda: one(c=nn.Linear(4, 4)), vectors, stacked),
    "shared-by-modules": (stacked, shared, vectors, None),
    "used-transposed": (lambda s, x: torch.tanh(plain(s, x) @ s.a.weight), one, vectors, None),
    "parametrization-list": (plain, parametrized, vectors, None),
    "own-function": (lambda s, x: torch.tanh(Product.apply(x, s.a.weight)), one, vectors, None),
    "straight-through": (rounded, one, signed, None),
    "half-detached": (lambda s, x: 0.5 * plain(s, x) + 0.5 * plain(s, x).detach(), one, vectors, None),
    "bias-before-a-norm": (
        lambda s, x: F.layer_norm(s.a(x) + s.shift, (4,)).sin(),
        lambda: one(shift=nn.Parameter(torch.zeros(1))),
        vectors,
        None,
    ),
    "same-noise-for-all": (shifted_by_rows, one, vectors, None),
    "input-changed": (lambda s, x: s.a(F.relu_(x)), one, signed, None),
    "view-of-the-input": (
        lambda s, x: x.view(len(x), -1) + s.shift,
        lambda: {"shift": nn.Parameter(torch.rand(4))},
        vectors,
        None,
    ),
    "sequence-first-gru": (lambda s, x: s.r(x.transpose(0, 1))[0][-1], lambda: {"r": nn.GRU(4, 4)}, sequences, None),
    "sequence-first-attention": (
        lambda s, x: s.r(*[x.transpose(0, 1)] * 3)[0].mean(0),
        lambda: {"r": nn.MultiheadAttention(4, 2)},
        sequences,
        None,
    ),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("case", RIGHT)
def test_every_kernel_is_that_of_single_samples(case, dtype):
    hidden, parts, inputs, reference = RIGHT[case]
    model, honest, x = model_of(hidden, parts), model_of(reference or hidden, parts), inputs(20)
    given = x.clone()
    rows = gradients(honest, x.clone())[:, 0]
    expected = rows @ rows.T
    assert relative_error(ak.ntk(model, x, dtype=dtype), expected) < BARS[dtype]
    assert relative_error(sum(layer_ntks(model, x, dtype=dtype).values()), expected) < BARS[dtype]
    paired = paired_ntk(model, x, x.flip(0), dtype=dtype)
    assert relative_error(paired, expected.flip(1).diagonal(), expected) < BARS[dtype]
    honest = honest.double()
    features = torch.cat([(reference or hidden)(honest, row[None]).detach() for row in x.double().clone()])
    assert relative_error(ak.conjugate_kernel(model, x, dtype=dtype), features @ features.T) < BARS[dtype]
    assert torch.equal(x, given)


def by_count(net, x):
    _, place, count = torch.unique((x[:, 0] * 3).long(), return_inverse=True, return_counts=True)
    return net.b(plain(net, x)) * count[place][:, None]


def largest_kept(net, x):
    h = net.b(plain(net, x))
    return h * (1 + torch.zeros_like(h).index_fill(0, h[:, 0].topk(min(3, len(x))).indices, 1.0))


def moved_together(net, x):
    """The rows that are picked move to the front."""
    chosen = (x[:, 0] > 0.3).nonzero()[:, 0]
    return net.b(torch.zeros_like(x).index_add(0, torch.arange(len(chosen)), plain(net, x[chosen])))


def counted_in_a_list(net, x):
    CALLS.append(1)
    return net.b(plain(net, x)) * (1 + 0.1 * len(CALLS))


def until_large(net, x):
    while x.abs().max() < 3:
        x = 1.5 * x
    return net.b(plain(net, x))


def iterated(net, x):
    """A fixed point, until the batch as a whole moves little."""
    z = torch.zeros_like(x)
    for _ in range(100):
        z, before = torch.tanh(0.5 * net.a(z) + x), z
        if (z - before).norm() < 0.1:
            break
    return net.b(z)


def noise_by_place(net, x):
    return net.b(plain(net, x + torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x)))


def hooked(change):
    def forward(net, x):
        h = plain(net, x)
        if h.requires_grad:
            h.register_hook(change)
        return net.b(h)

    return forward


def trains(net, x):
    return net.b(torch.tanh(net.n.train()(net.a(x))))


def energy_gradient(net, x):
    x = x.detach().requires_grad_()
    return net.b(torch.autograd.grad(net.b(plain(net, x)).mean(), x, create_graph=True)[0])


def unguarded(net, x):
    with torch.no_grad():
        h = plain(net, x)
    return net.b(h) + net.c(x)


def hidden_of_batch(function):
    return lambda s, x: s.b(function(s, x))


REFUSED = {
    "running-maximum": (hidden_of_batch(lambda s, x: plain(s, x).cummax(0).values), "depends on"),
    "running-maximum-of-inputs": (hidden_of_batch(lambda s, x: plain(s, x + x.cummax(0).values)), "depend"),
    "counts-of-values": (by_count, "depend"),
    "largest-kept": (largest_kept, "depend"),
    "median": (hidden_of_batch(lambda s, x: plain(s, x - x.median(0).values)), "depend"),
    "first-as-reference": (hidden_of_batch(lambda s, x: plain(s, x - x[0])), "depend"),
    "first-as-constant": (lambda s, x: s.b(plain(s, x)) + 0.1 * s.b(plain(s, x[:1])).detach(), "depend"),
    "last-as-reference": (hidden_of_batch(lambda s, x: plain(s, x - x[-1])), "depend"),
    "moved-together": (moved_together, "depend"),
    "even-and-odd": (lambda s, x: s.b(plain(s, x)) * (1 + torch.arange(len(x))[:, None] % 2), "depend"),
    "reversed": (lambda s, x: s.b(plain(s, x)) + 0.1 * s.b(plain(s, x.flip(0))), "depend"),
    "softmax-over-the-batch": (hidden_of_batch(lambda s, x: plain(s, torch.softmax(x, 0))), "depend"),
    "attention-over-samples": (
        hidden_of_batch(lambda s, x: F.scaled_dot_product_attention(s.a(x), x, x)),
        "depend",
    ),
    "until-large": (until_large, "depend"),
    "fixed-point": (iterated, "depend"),
    "noise-by-place": (noise_by_place, "depend"),
    "counted-in-a-list": (counted_in_a_list, "state"),
    "weights-change": (hidden_of_batch(lambda s, x: plain(s, x) * s.a.weight.data.mul_(0.99).norm()), "state"),
    "random-of-python": (hidden_of_batch(lambda s, x: plain(s, x * random.random())), "random"),
    "bernoulli": (hidden_of_batch(lambda s, x: plain(s, x) * torch.bernoulli(torch.full_like(x, 0.5))), "random"),
    "batch-norm-in-training": (trains, "statistics of the batch"),
    "mean-of-an-energy": (energy_gradient, "depend"),
    "gradients-centred": (hooked(lambda g: g - g.mean(0)), "depends on the others"),
    "gradients-normalised": (hooked(lambda g: g / g.norm()), "depends on the others"),
    "under-no-grad": (unguarded, r"a\.weight, a\.bias"),
    "not-a-number": (lambda s, x: s.b(plain(s, x)) * torch.where(x[:, :1] > 0.5, torch.nan, 1.0), "not finite"),
}
ENTRIES = {
    "ntk": lambda model, x, dtype: ak.ntk(model, x, dtype=dtype),
    "layer_ntks": lambda model, x, dtype: layer_ntks(model, x, dtype=dtype),
    "paired_ntk": lambda model, x, dtype: paired_ntk(model, x, x.flip(0), dtype=dtype),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize(("ascending", "dtype"), [(False, torch.float32), (True, torch.float64)])
def test_models_without_a_kernel_of_single_samples_are_refused(case, entry, ascending, dtype):
    forward, sentence = REFUSED[case]
    torch.manual_seed(0)
    model = Net(forward, **one(b=nn.Linear(4, 1), c=nn.Linear(4, 1), n=nn.BatchNorm1d(4))).eval()
    x = vectors(30)
    x = x[x[:, 0].argsort()] if ascending else x
    with pytest.raises(UserError, match=sentence):
        ENTRIES[entry](model, x, dtype)


def test_equal_samples_that_are_computed_once_have_their_kernel():
    def forward(net, x):
        rows, place = torch.unique(x, dim=0, return_inverse=True)
        return net.b(plain(net, rows))[place]

    torch.manual_seed(0)
    model, x = Net(forward, **one(b=nn.Linear(4, 1))), vectors(10).repeat(3, 1)
    rows = gradients(model, x)[:, 0]
    assert relative_error(ak.ntk(model, x, dtype=torch.float64), rows @ rows.T) < 1e-12
    with pytest.raises(UserError, match="choose a layer that is called for all samples alike"):
        ak.conjugate_kernel(model, x)


AUTOCAST = {
    "linear": (plain, one, vectors),
    "convolution": (lambda s, x: torch.tanh(s.a(x)).mean((2, 3)), lambda: {"a": nn.Conv2d(1, 4, 3)}, images),
    "layer-norm": (lambda s, x: torch.tanh(s.n(s.a(x))), lambda: one(n=nn.LayerNorm(4)), vectors),
    "by-hand": (lambda s, x: plain(s, x) * s.gain, lambda: one(gain=nn.Parameter(torch.rand(4))), vectors),
    "recurrent": (lambda s, x: s.r(x)[0][:, -1], lambda: {"r": nn.GRU(4, 4, batch_first=True)}, sequences),
}


@pytest.mark.parametrize("case", AUTOCAST)
def test_what_the_model_itself_rounds_is_computed_and_reported(case):
    hidden, parts, inputs = AUTOCAST[case]

    def rounding(net, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return hidden(net, x)

    torch.manual_seed(0)
    model, x = Net(lambda s, x: rounding(s, x).sum(1, keepdim=True), **parts()), inputs(20)
    rows = gradients(model, x)[:, 0]
    with pytest.warns(PrecisionWarning, match="in torch.bfloat16 itself"):
        K = ak.ntk(model, x)
    assert K.dtype == torch.float32
    assert relative_error(K, rows @ rows.T) < 2e-2
    with warnings.catch_warnings():  # autocast leaves float64 alone
        warnings.simplefilter("error", PrecisionWarning)
        assert relative_error(ak.ntk(model, x, dtype=torch.float64), rows @ rows.T) < 1e-12


def convolved(scale=1.0):
    torch.manual_seed(0)
    return Net(
        lambda s, x: s.b(torch.tanh(s.c(F.relu_(x))).flatten(1)) * scale, c=nn.Conv2d(1, 3, 3), b=nn.Linear(48, 1)
    )


@pytest.mark.parametrize("transform", ["shift", "swap"])
def test_invariances_are_those_of_single_samples(transform):
    model, x = convolved(), images(20)
    rows, kind = gradients(model, x.clone())[:, 0], TRANSFORMS[transform]
    cosines = []
    for version in kind.versions(x.double(), kind.paper):
        moved = gradients(model, version.clone())[:, 0]
        lengths = (rows.norm(dim=1) + NORM_OFFSET) * (moved.norm(dim=1) + NORM_OFFSET)
        cosines.append(((rows * moved).sum(1) / lengths).mean())
    assert ak.invariance(model, x, transform, dtype=torch.float64) == pytest.approx(float(sum(cosines)) / len(cosines))


@pytest.mark.parametrize(("scale", "sentence"), [(1e-30, "less than the 0.0001"), (torch.nan, "not finite")])
def test_embeddings_without_an_invariance_are_refused(scale, sentence):
    with pytest.raises(UserError, match=sentence):
        ak.invariance(convolved(scale), images(6), "swap")
