"""The time that a sweep will still take."""

import pytest

from afterkernel.sweep.time_remaining import RunTiming, TimeRemaining, mean_run_s, time_left


def test_the_time_left_is_unknown_before_any_timing():
    assert time_left([], [], 5) is None
    assert time_left([], [RunTiming(3.0, None, None)], 5) is None


def test_runs_take_as_long_as_those_that_finished():
    left = time_left([10.0, 20.0], [], 4)
    assert (left.wall_s, left.more, str(left)) == (60.0, False, "about 1 min 0 s left")


def test_runs_at_once_share_what_is_to_go():
    assert time_left([10.0], [], 4, at_once=2).wall_s == 20.0
    running = [RunTiming(4.0, None, None), RunTiming(9.0, None, None)]
    assert time_left([10.0], running, 3, at_once=1).wall_s == pytest.approx((6 + 1 + 30) / 2)


def test_a_run_is_not_shared_out():
    assert time_left([10.0], [], 1, at_once=8).wall_s == 10.0
    assert time_left([10.0], [RunTiming(1.0, 50.0, None), RunTiming(9.0, 1.0, None)], 0).wall_s == 50.0


def test_a_run_with_a_known_end_predicts_the_time_of_the_others():
    running = [RunTiming(10.0, 30.0, None)]
    assert mean_run_s([], running) == 40.0
    assert time_left([], running, 2).wall_s == 30 + 2 * 40


def test_a_run_longer_than_the_others_is_not_over():
    assert time_left([10.0], [RunTiming(25.0, None, 7.0)], 0).wall_s == 7.0
    assert time_left([10.0], [RunTiming(25.0, None, None)], 0).wall_s == 0.0


def test_where_stages_alone_are_known_it_is_more():
    left = time_left([], [RunTiming(10.0, None, 20.0), RunTiming(5.0, None, None)], 2)
    assert left == TimeRemaining((20 + 2 * 30) / 2, more=True)
    assert str(left) == "over 40 s left"
