"""Training on several classes: the loss, the errors and the gradients are those of the softmax cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from afterkernel.data.sources.digits import Digits
from afterkernel.errors import UserError
from afterkernel.models import ARCHITECTURES, Architecture
from afterkernel.training.loss import cross_entropy, is_wrong
from afterkernel.training.metrics import measure


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_architecture_has_one_logit_for_each_class(name):
    torch.manual_seed(0)
    network = ARCHITECTURES[name](budget=3000).build((1, 8, 8), 5)
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 5)
    assert network.parameter_count >= 0.9 * 3000
    assert ARCHITECTURES[name](budget=3000).build((1, 8, 8))(torch.rand(3, 1, 8, 8)).shape == (3,)


def test_the_numbers_of_a_snapshot():
    problem = Digits(classes=[0, 1, 2], max_train=40, max_test=30).load()
    torch.manual_seed(0)
    network = ARCHITECTURES["mlp"](width=6).build(problem.image_shape, problem.n_outputs)
    found = measure(network, problem, epoch=0, step=0)
    with torch.no_grad():
        logits, tested = network(problem.x_train).double(), network(problem.x_test)
    expected = -torch.log_softmax(logits, 1)[torch.arange(40), problem.y_train].mean()
    assert found.train_loss == pytest.approx(expected.item(), rel=1e-6)
    assert found.net_train_error == (logits.argmax(1) != problem.y_train).double().mean().item()
    assert found.net_test_error == (tested.argmax(1) != problem.y_test).double().mean().item()


def test_one_logit_has_the_loss_of_the_logistic_function():
    logits, labels = torch.randn(7), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    both = torch.stack([torch.zeros(7), logits], 1)
    torch.testing.assert_close(cross_entropy(logits, labels, 1), F.cross_entropy(both, labels))
    assert is_wrong(logits, labels, 1).tolist() == (both.argmax(1) != labels).tolist()


def test_a_network_without_a_logit_for_each_class_is_refused():
    with pytest.raises(UserError, match=r"logits of shape \(4, 1\) for 4 images: they must have shape \(4, 3\)"):
        cross_entropy(torch.zeros(4, 1), torch.tensor([0, 1, 2, 0]), 3)

    class Own(Architecture):
        def module(self, width, image_shape):
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1))

    with (
        torch.device("meta"),
        pytest.raises(UserError, match=r"one logit for each of 3 classes, \(2, 3\), by self.n_out"),
    ):
        Own().build((1, 8, 8), 3)
