import ctypes
from itertools import product

import pytest

from effmed.learn.kernels import build, check
from effmed.learn.kernels.calls import KINDS
from tests.learn.kernels.beside import watch

pytestmark = pytest.mark.usefixtures("kernels")


def test_layers_that_agree_with_torch_are_used():
    assert check.find_kernels() == build.load_kernels()
    assert check._agree()


def test_every_size_that_is_compiled_is_asked_for(monkeypatch):
    alone, together, kinds = set(), set(), set()

    def noted(call, name, *arguments):
        sizes = [
            (each._obj.side, each._obj.stride, each._obj.channels % 16 == 0)
            for each in arguments
            if hasattr(each, "_obj")
        ]
        if name == "effmed_depthwise":
            alone.update(sizes)
        if name == "effmed_normalise_depthwise":
            together.update(sizes)
            kinds.add(arguments[3])
        if name == "effmed_normalise":
            kinds.add((name, arguments[5]))
        call(name, *arguments)

    watch(monkeypatch, noted)
    assert check._agree()
    assert alone == together == set(product((3, 5, 7), (1, 2), (False, True)))
    assert kinds == {*KINDS.values(), *(("effmed_normalise", kind) for kind in KINDS.values())}


@pytest.mark.parametrize("wrong", sorted(build.SIGNATURES))
def test_layers_that_compute_something_else_are_not(monkeypatch, wrong):
    """Whichever it is: the last tensor it is given, which it fills, comes out a thousandth too large."""

    def disturbed(call, name, *arguments):
        call(name, *arguments)
        if name == wrong:
            arguments[-1].mul_(1.001)

    watch(monkeypatch, disturbed)
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
