"""One Ctrl-C ends a sweep in order; later ones do not interrupt the end."""

import signal
import threading

import pytest

from afterkernel.launchers import interrupt
from afterkernel.launchers.interrupt import interrupted_once


def press():
    signal.raise_signal(signal.SIGINT)


def test_only_the_first_raises_and_the_handler_comes_back():
    before = signal.getsignal(signal.SIGINT)
    with interrupted_once() as force_stop:
        with pytest.raises(KeyboardInterrupt):
            press()
        press()
        assert not force_stop.is_set()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        press()


def test_a_later_interrupt_forces_the_stop(monkeypatch):
    monkeypatch.setattr(interrupt, "TOGETHER_S", 0.0)
    with interrupted_once() as force_stop:
        with pytest.raises(KeyboardInterrupt):
            press()
        assert not force_stop.is_set()
        press()
        assert force_stop.is_set()


def test_the_first_passes_on():
    with pytest.raises(KeyboardInterrupt), interrupted_once():
        press()


def test_where_it_is_ignored_it_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupted_once() as force_stop:
            press()
            press()
        assert not force_stop.is_set()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def enter():
        with interrupted_once():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
