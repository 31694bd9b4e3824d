"""Any model that has a kernel of single samples gets it, unchanged; any other is refused for the right reason."""

import copy
import logging
import threading
import warnings
import weakref

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net, gram, relative_error
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import afterkernel as ak
from afterkernel.errors import PrecisionWarning, UserError
from afterkernel.kernels import ntk


def two(**more):
    return {"a": nn.Linear(4, 4), "b": nn.Linear(4, 1), **more}


def vectors(n):
    return torch.rand(n, 4)


def tokens(n):
    return torch.randint(0, 7, (n, 5))


def plain(net, x):
    return net.b(torch.tanh(net.a(x)))


def unguarded(function, x):
    with torch.no_grad():
        return function(x)


def reference(model, x, forward=None):
    """The kernel by autograd in float64, sample by sample; a complex parameter is two real ones."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        for name, value in [*module._parameters.items(), *module._buffers.items()]:
            if value is not None and (value.is_floating_point() or value.is_complex()):
                value.data = value.data.to(torch.complex128 if value.is_complex() else torch.float64)
                assert name
        for name, value in module.__dict__.items():
            if isinstance(value, torch.Tensor):
                module.__dict__[name] = value.double()
    parameters = [value for value in model.parameters() if value.requires_grad and value.numel()]
    rows = []
    for sample in x.double() if x.is_floating_point() else x:
        output = (forward or type(model).__call__)(model, sample[None]).reshape(())
        grads = torch.autograd.grad(output, parameters, allow_unused=True, materialize_grads=True)
        dense = [grad.to_dense() if grad.is_sparse else grad for grad in grads]
        rows.append(torch.cat([(torch.view_as_real(g) if g.is_complex() else g).flatten() for g in dense]))
    K = torch.stack(rows)
    return K @ K.T


def rotary(net, x):
    h = torch.view_as_complex(net.a(x).reshape(-1, 2, 2)) * net.turns
    return net.b(torch.tanh(torch.view_as_real(h).flatten(1)))


def physics(net, x):
    x = x.detach().requires_grad_()
    u = plain(net, x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return u + slope.square().sum(1, keepdim=True)


def func_grad(net, x):
    slope = torch.func.vmap(torch.func.grad(lambda z: plain(net, z)[0]))(x)
    return plain(net, x) + slope.square().sum(1, keepdim=True)


def func_jvp(net, x):
    u, slope = torch.func.jvp(lambda z: plain(net, z), (x,), (torch.ones_like(x),))
    return u + slope**2


def experts(net, x):
    scale, out = net.b(x).sigmoid(), torch.zeros_like(x)
    chosen = (x[:, 0] * 3).long()
    for number, expert in enumerate((net.e0, net.e1, net.e2)):
        rows = (chosen == number).nonzero()[:, 0]
        out = out.index_add(0, rows, torch.tanh(expert(x[rows])))
    return net.a(out)[:, :1] * scale


def routed(n):
    x = torch.rand(n, 4)
    x[: n // 2, 0] = 0.1
    return x


def norm_in_float32(net, x):
    h = net.a(x)
    kind, h = h.dtype, h.float()
    h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-6)
    return net.b(torch.tanh(net.gain * h.to(kind)))


# Name: (forward, parts, inputs, error allowed in float64).
RIGHT = {
    "complex-parameter": (
        lambda s, x: s.b(torch.tanh(torch.fft.irfft(torch.fft.rfft(s.a(x)) * s.w, n=4))),
        lambda: two(w=nn.Parameter(torch.randn(3, dtype=torch.complex64))),
        vectors,
        1e-12,
    ),
    "complex-layer": (
        lambda s, x: s.b(torch.tanh(s.a(torch.complex(x, x.flip(1))).abs())),
        lambda: two(a=nn.Linear(4, 4, dtype=torch.complex64)),
        vectors,
        1e-12,
    ),
    "complex-buffer": (
        rotary,
        lambda: two(turns=nn.Buffer(torch.polar(torch.ones(2), torch.arange(2.0)), persistent=False)),
        vectors,
        1e-12,
    ),
    "whole-number-buffer": (
        lambda s, x: s.b(torch.tanh(s.a(x[:, s.order]))),
        lambda: two(order=nn.Buffer(torch.tensor([2, 0, 1, 3]))),
        vectors,
        1e-12,
    ),
    "plain-tensor": (
        lambda s, x: s.b(torch.tanh(s.a(x) @ s.mix)),
        lambda: two(mix=torch.randn(4, 4)),
        vectors,
        1e-12,
    ),
    "norm-in-float32": (norm_in_float32, lambda: two(gain=nn.Parameter(torch.rand(4))), vectors, 1e-5),
    "physics-informed": (physics, two, vectors, 1e-12),
    "func-grad": (func_grad, two, vectors, 1e-12),
    "func-jvp": (func_jvp, two, vectors, 1e-12),
    "func-vmap": (lambda s, x: torch.func.vmap(lambda z: plain(s, z))(x), two, vectors, 1e-12),
    "experts": (experts, lambda: two(**{f"e{i}": nn.Linear(4, 4) for i in range(3)}), routed, 1e-12),
    "squeezed": (lambda s, x: plain(s, x).squeeze(), two, vectors, 1e-12),
    "sparse-bag": (
        lambda s, x: s.b(torch.tanh(s.a(x))),
        lambda: two(a=nn.EmbeddingBag(7, 4, sparse=True)),
        tokens,
        1e-12,
    ),
    "sparse-embedding": (
        lambda s, x: s.b(torch.tanh(s.a(x)).sum(1)),
        lambda: two(a=nn.Embedding(7, 4, sparse=True)),
        tokens,
        1e-12,
    ),
    "no-numbers": (
        lambda s, x: plain(s, x) + s.none.sum(),
        lambda: two(none=nn.Parameter(torch.empty(0))),
        vectors,
        1e-12,
    ),
    "no-inputs": (
        lambda s, x: s.b(torch.tanh(s.a(x) + s.none(x[:, :0]))),
        lambda: two(none=nn.Linear(0, 4)),
        vectors,
        1e-12,
    ),
    "prelu": (lambda s, x: s.b(s.p(s.a(x) - 0.5)), lambda: two(p=nn.PReLU(4)), vectors, 1e-12),
    "input-changed": (lambda s, x: plain(s, x.mul_(2)), two, vectors, 1e-12),
    "old-spectral-norm": (plain, lambda: two(a=nn.utils.spectral_norm(nn.Linear(4, 4))), vectors, 1e-12),
    "spectral-norm": (plain, lambda: two(a=parametrizations.spectral_norm(nn.Linear(4, 4))), vectors, 1e-12),
}


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.filterwarnings(
    "ignore:.*jit.*:DeprecationWarning", "ignore:.*jit.*:FutureWarning", "ignore:Initializing zero"
)
def test_the_kernel_is_that_of_autograd(case):
    forward, parts, inputs, bar = RIGHT[case]
    torch.manual_seed(3)
    model, x = Net(forward, **parts()).eval(), inputs(8)
    kept, before = x.clone(), copy.deepcopy(model.state_dict())
    with torch.enable_grad():
        expected = reference(model, x.clone())
    assert relative_error(ntk(model, x, dtype=torch.float64), expected) < bar
    assert relative_error(ntk(model, x), expected) < 1e-5
    assert torch.equal(x, kept)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_sample_of_a_squeezed_output():
    model, x = Net(lambda s, x: plain(s, x).squeeze(), **two()), vectors(5)
    K = ntk(model, x, dtype=torch.float64)
    assert relative_error(ntk(model, x[:1], x, dtype=torch.float64), K[:1]) < 1e-12
    assert relative_error(ntk(model, x[:1], dtype=torch.float64), K[:1, :1]) < 1e-12


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("blocks", ["a", "ac", "c"])
def test_checkpoints_change_nothing(blocks, reentrant):
    def forward(net, x):
        for name in "ac":
            block = getattr(net, name)
            x = checkpoint(block, x, use_reentrant=reentrant) if name in blocks else block(x)
        return net.b(torch.tanh(x))

    model, x = Net(forward, **two(c=nn.Linear(4, 4))), vectors(6)
    expected = gram(Net(lambda s, x: s.b(torch.tanh(s.c(s.a(x)))), a=model.a, b=model.b, c=model.c), x)
    assert relative_error(ntk(model, x, dtype=torch.float64), expected) < 1e-12


def as_number(net, x):
    return plain(net, x) * net.gain.item()


LOST = {
    "no-grad": (lambda s, x: s.b(torch.tanh(unguarded(s.a, x))), "a.weight, a.bias"),
    "detached": (lambda s, x: s.b(torch.tanh(s.a(x).detach())), "a.weight, a.bias"),
    "data": (lambda s, x: s.b(torch.tanh(F.linear(x, s.a.weight.data, s.a.bias))), "a.weight, but"),
    "number": (as_number, "gain"),
    "numpy": (lambda s, x: plain(s, x) * torch.from_numpy(s.gain.detach().numpy()), "gain"),
    "frozen-in-forward": (lambda s, x: plain(s, x) + 0 * s.a.requires_grad_(False)(x)[:, :1], "a.weight"),
    "everything": (lambda s, x: unguarded(lambda z: plain(s, z), x), "b.weight"),
}


@pytest.mark.parametrize("case", LOST)
def test_parameters_whose_gradient_is_lost_are_named(case):
    forward, names = LOST[case]
    model = Net(forward, **two(gain=nn.Parameter(torch.tensor(0.7))))
    with pytest.raises(UserError, match=f"depends on .*{names}.*requires_grad_"):
        ntk(model, vectors(6))


def test_frozen_parameters_may_be_used_without_a_gradient():
    model, x = Net(LOST["no-grad"][0], **two()), vectors(6)
    model.a.requires_grad_(False)
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12


class Holding(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 1)
        self.lock, self.log, self.steps = threading.Lock(), logging.getLogger("holding"), (i for i in range(3))
        self.seen, self.calls, self.first = [], 0, weakref.ref(self.a)
        self.activation = lambda h: torch.tanh(h)
        self.register_buffer("count", torch.zeros(()))
        self.last = None

    def forward(self, x):
        with self.lock:
            self.last = self.activation(self.first()(x))
            self.seen.append(self.last)
            self.calls += 1
            self.count += 1
            return self.b(self.last)


def test_a_model_that_holds_what_cannot_be_copied_and_changes_itself():
    model, x = Holding(), vectors(6)
    model(x[:2])
    last, count = model.last, model.count.clone()
    twin = Net(plain, a=model.a, b=model.b)
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(twin, x)) < 1e-12
    assert model.last is last
    assert (len(model.seen), model.calls, model.training) == (1, 1, True)
    assert torch.equal(model.count, count)


def test_old_weight_norm_after_a_forward_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Linear(4, 4))
    model, x = Net(plain, **two(a=layer)), vectors(6)
    new = Net(plain, **two(a=parametrizations.weight_norm(nn.Linear(4, 4)), b=model.b))
    new.a.bias = model.a.bias
    new.a.parametrizations.weight.original0 = model.a.weight_g
    new.a.parametrizations.weight.original1 = model.a.weight_v
    model(x)
    assert relative_error(ntk(model, x, dtype=torch.float64), ntk(new, x, dtype=torch.float64)) < 1e-12


@pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning", "ignore:.*jit.*:FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        torch.jit.script,
        lambda model: torch.jit.trace(model, vectors(3)),
        lambda model: torch.compile(model, backend="eager"),
        nn.DataParallel,
        torch.fx.symbolic_trace,
        lambda model: nn.Sequential(torch.jit.script(model[:2]), model[2]),
    ],
)
def test_wrapped_models(wrap):
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)), vectors(6)
    assert relative_error(ntk(wrap(model), x, dtype=torch.float64), gram(model, x)) < 1e-12


def test_models_made_in_inference_mode():
    with torch.inference_mode():
        model = Net(plain, **two())
    with pytest.raises(RuntimeError):
        model(vectors(2)).sum().backward()
    assert torch.isfinite(ntk(model, vectors(4))).all()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1)), "lazy module"),
        (lambda: nn.Linear(4, 1, device="meta"), "device meta"),
        (lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(3)), "can't be run on these samples"),
    ],
)
def test_models_that_cannot_be_run_are_refused(model, sentence):
    with pytest.raises(UserError, match=sentence):
        ntk(model(), vectors(4))


def test_parameters_that_are_not_finite_are_named():
    model = Net(plain, **two())
    model.a.weight.data[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"a\.weight .*not finite"):
        ntk(model, vectors(4))


def test_code_that_names_its_data_type_is_computed_in_another():
    model, x = Net(lambda s, x: s.b(s.c(x.float(), torch.zeros(len(x), 4))), **two(c=nn.GRUCell(4, 4))), vectors(6)
    same = Net(lambda s, x: s.b(s.c(x, x.new_zeros(len(x), 4))), a=model.a, b=model.b, c=model.c)
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(same, x)) < 1e-12
    assert torch.get_default_dtype() == torch.float32


def test_an_output_that_depends_on_the_data_type_is_refused():
    model = Net(lambda s, x: plain(s, x) * (2 if x.dtype == torch.float64 else 1), **two())
    with pytest.raises(UserError, match=r"differ from its own in torch\.float32"):
        ntk(model, vectors(4), dtype=torch.float64)
    assert torch.isfinite(ntk(model, vectors(4))).all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_reported(kind):
    model, x = Net(plain, **two()).to(kind), vectors(5)
    with pytest.warns(PrecisionWarning, match=f"a.weight is {kind}"):
        K = ntk(model, x)
    assert relative_error(K, gram(model, x)) < 1e-5
    assert model.a.weight.dtype == kind


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_products_that_leave_the_range_of_float32_are_refused(scale):
    model, x = Net(lambda s, x: plain(s, x) * scale, **two()), vectors(5)
    for call in (ak.ntk, ak.kernels.layer_ntks, lambda m, x: ak.ntk(m, x, x.flip(0))):
        with pytest.raises(UserError, match=r"(under|over)flow in float32.*float64"):
            call(model, x)
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12
    paired = ak.kernels.paired_ntk(model, x, x)
    assert relative_error(paired, gram(model, x).diagonal()) < 1e-5


def test_a_layer_that_adds_nothing_may_underflow():
    model, x = Net(lambda s, x: plain(s, x) + 1e-25 * s.c(x), **two(c=nn.Linear(4, 1))), vectors(5)
    assert relative_error(ntk(model, x), gram(model, x)) < 1e-5
    with pytest.raises(UserError, match=r"layer c .*underflow"):
        ak.kernels.layer_ntks(model, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_that_are_zero_to_rounding(dtype):
    model, x = Net(lambda s, x: s.a(x).softmax(1).sum(1), **two()), vectors(5)
    assert ntk(model, x, dtype=dtype).abs().max() < 1e-10
