import ctypes
from itertools import product

import pytest

from effmed.learn.kernels import build, check, functions

pytestmark = pytest.mark.usefixtures("kernels")


def test_layers_that_agree_with_torch_are_used():
    assert check.find_kernels() == build.load_kernels()
    assert check._agree()


def test_every_size_that_is_compiled_is_asked_for(monkeypatch):
    asked = set()
    call = functions._call

    def noted(name, *arguments):
        if name == "effmed_depthwise":
            shape = arguments[2]._obj
            asked.add((shape.kernel, shape.stride, shape.channels % 16 == 0))
        if name == "effmed_normalise":
            asked.add(arguments[5])
        call(name, *arguments)

    monkeypatch.setattr(functions, "_call", noted)
    assert check._agree()
    assert asked == {*product((3, 5, 7), (1, 2), (False, True)), *functions.KINDS.values()}


@pytest.mark.parametrize("wrong", sorted(build.SIGNATURES))
def test_layers_that_compute_something_else_are_not(monkeypatch, wrong):
    """Whichever it is: the last tensor it is given, which it fills, comes out a thousandth too large."""
    call = functions._call

    def disturbed(name, *arguments):
        call(name, *arguments)
        if name == wrong:
            arguments[-1].mul_(1.001)

    monkeypatch.setattr(functions, "_call", disturbed)
    found = check.find_kernels.__wrapped__()
    assert found.library is None
    assert "gives other numbers than torch" in found.why


def test_where_there_are_no_kernels_the_reason_is_passed_on(monkeypatch):
    none = build.Kernels(None, "no compiler of C (gcc) was found")
    monkeypatch.setattr(check, "load_kernels", lambda: none)
    assert check.find_kernels.__wrapped__() == none


def test_the_library_is_loaded_once():
    assert isinstance(build.load_kernels().library, ctypes.CDLL)
    assert build.load_kernels() is build.load_kernels()
