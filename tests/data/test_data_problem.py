import pytest
import torch

from afterkernel.data import Problem
from afterkernel.errors import UserError


def problem(x_train=None, y_train=None, x_test=None, y_test=None, **names):
    x = torch.linspace(0, 1, 4 * 2 * 3 * 5).reshape(4, 2, 3, 5)
    return Problem(
        x_train=x if x_train is None else x_train,
        y_train=torch.tensor([0, 1, 0, 1]) if y_train is None else y_train,
        x_test=x[:2] if x_test is None else x_test,
        y_test=torch.tensor([0, 1]) if y_test is None else y_test,
        **{"minus": "a", "plus": "b", **names},
    )


def test_image_shape_is_channels_height_width():
    assert problem().image_shape == (2, 3, 5)


def test_fingerprint_is_of_the_content_alone():
    whole = problem().fingerprint
    assert len(whole) == 64
    assert problem(minus="c").fingerprint == whole
    # The same bytes, laid out otherwise in memory.
    x = problem().x_train
    assert problem(x_train=x.transpose(2, 3).contiguous().transpose(2, 3)).fingerprint == whole
    x = x.clone()
    x[3, 1, 2, 4] -= 1e-6
    others = [
        problem(x_train=x),
        problem(y_train=torch.tensor([1, 0, 0, 1])),
        problem(y_test=torch.tensor([1, 0])),
        problem(x_test=problem().x_test.flip(0)),
        problem(x_train=problem().x_train.reshape(4, 2, 5, 3), x_test=problem().x_test.reshape(2, 2, 5, 3)),
    ]
    assert len({whole, *(other.fingerprint for other in others)}) == 6


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(UserError, match="all must have the same shape"):
        problem(x_test=torch.zeros(2, 2, 3, 4))
    with pytest.raises(UserError, match="4 training images and 2 training labels"):
        problem(y_train=torch.tensor([0, 1]))
    with pytest.raises(UserError, match=r"training labels are \[-1, 1\]"):
        problem(y_train=torch.tensor([-1, 1, 1, -1]))
    with pytest.raises(UserError, match=r"test labels are \[0\]"):
        problem(y_test=torch.tensor([0, 0]))
