"""When a training is saved, against the definition written out."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterkernel.errors import UserError
from afterkernel.training.snapshot_rule import SnapshotRule

CHOSEN = st.lists(st.integers(0, 12), max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(CHOSEN, CHOSEN, st.lists(st.integers(0, 12), unique=True, min_size=1).map(sorted))
def test_a_step_or_epoch_is_due_at_the_first_check_at_or_after_it(steps, epochs, checks):
    rule = SnapshotRule(steps=steps, epochs=epochs)
    for place, now in enumerate(checks):
        passed = set(range(checks[place - 1] + 1, now + 1)) if place else {now}
        assert rule.due(step=now) == bool(passed & set(steps))
        assert rule.due(step=now) == bool(passed & set(steps))  # a repeated check has the same answer
        assert rule.due(epoch=now) == bool(passed & set(epochs))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 9), unique=True, max_size=3), st.lists(st.integers(0, 9), max_size=8))
def test_a_loss_is_due_at_the_first_check_at_or_below_it(targets, losses):
    rule = SnapshotRule(losses=targets)
    for step, loss in enumerate(losses):
        fresh = [one for one in targets if loss <= one and all(before > one for before in losses[:step])]
        assert rule.due(step=step, loss=loss) == bool(fresh)
        assert rule.due(step=step, loss=loss) == bool(fresh)
        assert rule.losses_reached_at(step) == sorted(fresh)


def test_a_training_that_continues_does_not_repeat_a_loss_and_one_that_starts_again_does():
    first = SnapshotRule(losses=[0.5, 0.1])
    assert [first.due(step=step, loss=loss) for step, loss in ((0, 0.7), (10, 0.4), (20, 0.3))] == [False, True, False]
    for reached in ({0.5: 10}, first.reached):
        later = SnapshotRule(losses=[0.5, 0.1], reached=reached)
        assert not later.due(step=30, loss=0.2)
        assert later.due(step=40, loss=0.1)
        again = SnapshotRule(losses=[0.5, 0.1], reached=reached)
        assert not again.due(step=0, loss=0.7)
        assert again.due(step=10, loss=0.4)


def test_the_first_check_of_a_training_that_continues_is_due_only_at_exactly_a_chosen_time():
    assert not SnapshotRule(steps=[5]).due(step=6)
    assert SnapshotRule(steps=[5]).due(step=5)
    assert not SnapshotRule(epochs=[0]).due(epoch=1)


def test_without_a_step_each_loss_is_due_once():
    rule = SnapshotRule(losses=[0.5])
    assert [rule.due(loss=loss) for loss in (0.9, 0.4, 0.3)] == [False, True, False]


def test_whole_epochs_until_the_end():
    assert SnapshotRule(epochs=[0, 2, 9]).until(5) == [0, 2, 5]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 5}, r"steps=5 is not a list of whole numbers: give one, such as steps=\[0, 1, 10\]."),
        ({"steps": [1.5]}, r"steps=\[1.5\] holds 1.5: give whole numbers of at least 0."),
        ({"epochs": [0, -1]}, r"epochs=\[0, -1\] holds -1: give numbers of at least 0."),
        ({"losses": [float("nan")]}, r"losses=\[nan\] holds nan: give numbers of at least 0."),
        ({"losses": "0.1"}, r"losses='0.1' is not a list of numbers"),
    ],
)
def test_numbers_that_training_cannot_reach_are_refused(given, sentence):
    with pytest.raises(UserError, match=sentence):
        SnapshotRule(**given)
