"""Models whose samples depend on each other are refused, in any order of the data; others never are."""

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net, gradients, gram, relative_error
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels import conjugate_kernel, embedding, layer_ntks, ntk, paired_ntk
from afterkernel.kernels.collect import GradientEmbedding
from afterkernel.kernels.independence import IndependenceChecked
from afterkernel.kernels.machine import memory_format
from afterkernel.kernels.terms import Block, Gradients
from afterkernel.kernels.verify import difference_of

torch.manual_seed(0)


def layers(s, x):
    return s.b(torch.tanh(s.a(x)))


def sorted_batch(s, x):
    """Every sample gets the answer of another, in the order of the first number."""
    return layers(s, x[x[:, 0].argsort()])


def position_dependent(s, x):
    """Sorted, changed by place, and put back."""
    order = x[:, 0].argsort()
    h = layers(s, x[order]) * torch.linspace(1, 2, len(x)).to(x)[:, None]
    return h[order.argsort()]


def capacity(s, x):
    """An expert that takes four samples of a batch."""
    taken = (x[:, 0] > 0.3) & ((x[:, 0] > 0.3).cumsum(0) <= 4)
    return layers(s, x) + taken[:, None] * s.c(x)


def quantised(s, x):
    scale = x.abs().max() / 127
    h = s.a(torch.fake_quantize_per_tensor_affine(x.float(), float(scale), 0, -128, 127).to(x))
    return s.b(torch.tanh(h))


def truncated(s, x):
    """Rows end in zeros; what is beyond the longest is removed, and the mean is over the rest."""
    longest = int((x != 0).sum(dim=1).max())
    return s.b(torch.tanh(s.a(x)) / longest)


def last_of_a_batch(s, x):
    h = torch.tanh(s.a(x))
    if len(x) > 4:
        h = torch.cat([h[:-1], 1.5 * h[-1:]])
    return s.b(h)


def gradient_alone(s, x):
    h = layers(s, x)
    extra = s.c(x) * x.mean(0).sum()
    return h + extra - extra.detach()


def output_alone(s, x):
    return layers(s, x) + x.mean().detach()


def signs(s, x):
    """The length of a gradient is the same in every batch."""
    return layers(s, x) * torch.sign(x.mean() - 0.3)


def counter(s, x):
    s.calls = getattr(s, "calls", 0) + 1
    return layers(s, x) * (1 + 0.01 * s.calls)


def running(s, x):
    with torch.no_grad():
        s.mean.mul_(0.9).add_(0.1 * x.mean(0))
    return layers(s, x - s.mean)


DEPENDENT = {
    "sorted": sorted_batch,
    "sorted-and-undone": position_dependent,
    "largest": lambda s, x: layers(s, x / x.abs().max()),
    "mean": lambda s, x: layers(s, x - x.mean(0)),
    "standard-deviation": lambda s, x: layers(s, x / x.std(0)),
    "standard-deviation-detached": lambda s, x: s.b(torch.tanh(s.a(x) / s.a(x).std(0).detach())),
    "truncation": truncated,
    "capacity": capacity,
    "quantised": quantised,
    "rolled": lambda s, x: layers(s, x.roll(1, 0)),
    "sums": lambda s, x: s.b(torch.tanh(s.a(x)).cumsum(0)),
    "last": last_of_a_batch,
    "gradient-alone": gradient_alone,
    "output-alone": output_alone,
    "signs": signs,
    "random": lambda s, x: s.b(F.dropout(s.a(x), 0.5, training=True)),
    "rarely-random": lambda s, x: layers(s, x) * (1 + 0.1 * (torch.rand(()) < 0.5).to(x)),
    "counter": counter,
    "running-statistics": running,
}


def network(case):
    parts = {"a": nn.Linear(4, 4), "b": nn.Linear(4, 1), "c": nn.Linear(4, 1)}
    model = Net(DEPENDENT[case], **parts)
    model.register_buffer("mean", torch.zeros(4))
    return model


def samples(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 4, generator=generator)
    lengths = torch.randint(1, 5, (n, 1), generator=generator)
    return torch.where(torch.arange(4) < lengths, x, 0.0)


ORDERS = {
    "as-drawn": lambda x: x,
    "ascending": lambda x: x[x[:, 0].argsort()],
    "descending": lambda x: x[x[:, 0].argsort(descending=True)],
    "shortest-first": lambda x: x[(x != 0).sum(1).argsort()],
    "longest-first": lambda x: x[(x != 0).sum(1).argsort(descending=True)],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", DEPENDENT)
@pytest.mark.parametrize(("n", "dtype"), [(5, torch.float64), (40, torch.float32)])
def test_the_kernel_is_that_of_single_samples_or_refused(case, order, n, dtype):
    model, x = network(case), ORDERS[order](samples(n))
    model.eval()
    try:
        K = ntk(model, x, dtype=dtype)
    except UserError:
        return
    # Each sample with a copy of its own: a model that counts its calls starts each time from the same state.
    rows = torch.cat([gradients(model, x[i : i + 1]) for i in range(n)])[:, 0]
    assert relative_error(K, rows @ rows.T) < 1e-5


def test_models_whose_samples_are_independent_are_not_refused():
    model, x = Net(layers, a=nn.Linear(4, 4), b=nn.Linear(4, 1)), samples(100)
    state = torch.random.get_rng_state()
    assert relative_error(ntk(model, x), gram(model, x)) < 1e-5
    assert torch.equal(state, torch.random.get_rng_state())


def by_strides(s, x):
    return s.b(torch.relu(s.a(torch.as_strided(x, (len(x), 3, 4, 4), (192, 64, 16, 2)))).flatten(1))


def by_contiguity(s, x):
    h = s.a(x)
    return s.b((2 * h if x.is_contiguous() else h)[..., :2, :2].sin().flatten(1))


@pytest.mark.parametrize("forward", [by_strides, by_contiguity])
def test_the_memory_format_changes_nothing(forward):
    model, x = Net(forward, a=nn.Conv2d(3, 5, 3), b=nn.Linear(20, 1)), torch.rand(6, 3, 8, 8)
    assert relative_error(ntk(model, x), gram(model, x)) < 1e-5


def test_strided_convolutions_of_single_pixels_stay_contiguous():
    pooled = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 1)]
    model, x = nn.Sequential(nn.Conv2d(3, 48, 1, stride=2), *pooled), torch.rand(16, 3, 64, 64)
    assert memory_format(model) == torch.contiguous_format
    phi = GradientEmbedding(model)
    phi.prepare(x)
    assert phi._memory_format == torch.contiguous_format
    assert relative_error(ntk(model, x), gram(model, x)) < 1e-5


def test_weights_are_no_activations():
    phi = GradientEmbedding(nn.Sequential(nn.Linear(4, 1000), nn.Tanh(), nn.Linear(1000, 1)))
    # The input, and the result of tanh, saved for both its own gradient and the next layer's; gradients take as much.
    assert phi.prepare(samples(3)).activation_bytes == 2 * 4 * (4 + 1000)


def small_batches(s, x):
    """Batches of fewer than eight are computed differently: copies that fill up a group do not show it."""
    return layers(s, x) * (1 if len(x) >= 8 else 1.5)


def never_in_eights(s, x):
    """Correct in the batches of eight that the check collects, wrong in the large ones."""
    return layers(s, x) * (1 if len(x) <= 8 else 1 + x.mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("forward", [small_batches, never_in_eights])
def test_agreement_in_some_batches_does_not_clear_a_suspicion(forward, seed):
    torch.manual_seed(seed)
    model = Net(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 1))
    with pytest.raises(UserError):
        ntk(model, samples(100, seed))


class Switching(nn.Module):
    """Its answer changes once, by a global variable: no state that belongs to the model."""

    calls, most = 0, 10**9

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 1)

    def forward(self, x):
        Switching.calls += 1
        return self.a(x).sin() * (1 if Switching.calls <= Switching.most else 2)


def test_a_state_that_changes_before_samples_are_collected_again_is_found(monkeypatch):
    x = samples(100)
    phi = embedding(Switching())
    phi.plan_layers(x)
    monkeypatch.setattr(Switching, "calls", 0)
    monkeypatch.setattr(Switching, "most", 1)  # the block itself takes one call
    with pytest.raises(UserError, match="when it is computed again"):
        phi.block(x)


def test_every_suspicion_is_settled(monkeypatch):
    """The worst difference is rounding, a smaller one is not: a kernel with the smaller one is refused."""
    model, x = Net(layers, a=nn.Linear(4, 4), b=nn.Linear(4, 1)), samples(64)
    phi = embedding(model)
    settled = []
    monkeypatch.setattr(IndependenceChecked, "_confirm", lambda self, x, found, collect: settled.append(found))
    monkeypatch.setattr(IndependenceChecked, "_suspicious", -1.0)
    phi.block(x)
    places = {int(found.group[found.place]) for found in settled}
    assert len(places) == 8
    differences = [found.difference for found in settled]
    assert differences == sorted(differences, reverse=True)


def test_a_switch_by_rounding_is_no_dependence(monkeypatch):
    """Every difference is looked at in float64, and none is left: the model is not refused."""
    model, x = Net(layers, a=nn.Linear(4, 4), b=nn.Linear(4, 1)), samples(100)
    monkeypatch.setattr(IndependenceChecked, "_suspicious", -1.0)
    monkeypatch.setattr(IndependenceChecked, "_repeat", lambda *_: None)
    assert relative_error(ntk(model, x), gram(model, x)) < 1e-5


SIZES = []


def test_the_embedding_that_settles_it_takes_batches_of_the_same_size():
    SIZES.clear()

    def forward(s, x):
        if x.dtype == torch.float64:
            SIZES.append(len(x))
        return layers(s, x) * (1 if len(x) < 64 else 1.1)

    model, x = Net(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 1)), samples(512)
    with pytest.raises(UserError, match="depends on the other samples"):
        ntk(model, x)
    assert max(SIZES) == 512


def test_a_small_layer_is_compared_with_a_tenth_of_the_whole():
    def block(small):
        gradients = {"large": 1.0, "small": small}
        return Block({name: (Gradients(torch.full((1, 1, 1), one).double()),) for name, one in gradients.items()})

    assert difference_of(block(0.02), block(0.03)).item() == pytest.approx(0.1, rel=1e-2)


def test_samples_without_further_dimensions_and_of_any_type_are_checked():
    table = Net(lambda s, x: s.b(s.a(x)), a=nn.Embedding(9, 3), b=nn.Linear(3, 1))
    x = torch.randint(0, 9, (40,))
    assert relative_error(ntk(table, x), gram(table, x)) < 1e-5
    mask = Net(lambda s, x: s.a(x.to(s.a.weight.dtype)), a=nn.Linear(4, 1))
    x = torch.rand(40, 4) > 0.5
    assert relative_error(ntk(mask, x), gram(mask, x)) < 1e-5


ENTRIES = {
    "ntk": lambda model, x, _: ntk(model, x),
    "ntk-of-two": lambda model, x, _: ntk(model, x[:20], x),
    "layer_ntks": lambda model, x, _: layer_ntks(model, x),
    "paired_ntk": lambda model, x, _: paired_ntk(model, x, x.flip(0)),
    "conjugate_kernel": lambda model, x, _: conjugate_kernel(model, x),
    "conjugate_kernel-of-two": lambda model, x, _: conjugate_kernel(model, x[:20], x),
    "invariance": lambda model, x, _: ak.invariance(model, x, "shift"),
    "store": lambda model, x, folder: ntk(model, x, store=folder / "tiles"),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_point_refuses(entry, tmp_path):
    """The first samples show nothing, and nothing shows in batches of three."""
    model = Net(lambda s, x: s.b(torch.tanh(s.a(x.flatten(1) / (x.std() if len(x) > 3 else 0.3)))))
    model.a, model.b = nn.Linear(64, 4), nn.Linear(4, 1)
    with pytest.raises(UserError, match="depends on the other samples"):
        ENTRIES[entry](model, torch.rand(60, 1, 8, 8), tmp_path)
