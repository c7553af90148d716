import pytest

from effmed.errors import BundleError, DataError, EffmedError, MachineError, RecipeError


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
