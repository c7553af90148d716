import os
import signal
import threading

import pytest

from effmed.errors import PreemptedError
from effmed.workflows.training.stopping import REQUESTS, listening, postponing


def test_a_signal_is_remembered_until_it_is_asked_for():
    for name in REQUESTS:
        with listening() as request:
            assert not request
            os.kill(os.getpid(), getattr(signal, name))
            assert request
            assert request.name == name


def test_what_was_done_about_signals_before_is_done_again_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_hears_nothing_and_works_all_the_same():
    heard = []

    def work():
        with listening() as request:
            heard.append(bool(request))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]


def ask_twice(heard):
    """Once where steps are taken, which heed it between two of them, and once outside."""
    with listening(at_once=True):
        with listening() as request:
            os.kill(os.getpid(), signal.SIGTERM)
            heard.append(request.name)
        os.kill(os.getpid(), signal.SIGTERM)
        heard.append("it went on")


def test_outside_the_steps_a_request_ends_the_process_where_it_stands():
    heard = []
    with pytest.raises(PreemptedError, match="SIGTERM: stopped outside the steps"):
        ask_twice(heard)
    assert heard == ["SIGTERM"]


def swallow(heard):
    """What a library does that takes every error for one of its own."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        heard.append("it went on")
    except Exception:
        heard.append("swallowed")


def test_a_request_that_a_library_would_swallow_is_heeded_after_it():
    heard = []
    with listening(at_once=True):
        swallow(heard)
        with pytest.raises(PreemptedError, match="SIGTERM: stopped outside the steps"), postponing():
            swallow(heard)
        with postponing():
            pass
    assert heard == ["swallowed", "it went on"]
