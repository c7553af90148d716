import pytest

from effmed.errors import BundleError, DataError, EffmedError, MachineError, RecipeError, shortened


@pytest.mark.parametrize(
    ("kind", "code"), [(EffmedError, 1), (RecipeError, 2), (DataError, 3), (BundleError, 4), (MachineError, 5)]
)
def test_each_kind_has_its_exit_code(kind, code):
    error = kind("what is wrong", hint="what to do")
    assert (error.exit_code, error.problem, error.hint, str(error)) == (
        code,
        "what is wrong",
        "what to do",
        "what is wrong",
    )


def test_a_remedy_is_required():
    with pytest.raises(TypeError, match="hint"):
        DataError("what is wrong")


def test_long_lists_show_ten_and_the_total():
    assert shortened(range(10)).endswith("8, 9")
    assert shortened(range(11)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … (11 in all)"
