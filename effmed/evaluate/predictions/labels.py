"""Several labels of an image that do not exclude each other: present, absent, uncertain (-1) or blank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from effmed.errors import DataError
from effmed.evaluate.intervals import Integers, row_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRESENT, ABSENT, UNKNOWN, UNCERTAIN, BLANK = 1, 0, -1, -2, -3
TEXTS = {
    **dict.fromkeys(("1", "1.0", "True", "true"), PRESENT),
    **dict.fromkeys(("0", "0.0", "False", "false"), ABSENT),
    **dict.fromkeys(("-1", "-1.0"), UNCERTAIN),
}
Uncertain = Literal["ignore", "zeros", "ones"]
Blank = Literal["ignore", "zeros"]


def label_numbers(values: NDArray[Any], name: str) -> Integers:
    """Return one column of labels as numbers.

    Args:
        values: (n,) 0, 1, -1 or nothing, as numbers or text.
        name: Of the label, for the message.

    Returns:
        (n,) ``PRESENT``, ``ABSENT``, ``UNCERTAIN`` (-1 in a table, as in CheXpert) or ``BLANK``.

    Raises:
        DataError: Anything else; the message names the rows.
    """
    texts = ["" if gone else str(value).strip() for value, gone in zip(values, pd.isna(values), strict=True)]
    wrong = np.array([text not in TEXTS and text != "" for text in texts], dtype=bool)
    if wrong.any():
        problem = f"label {name!r} is none of 1, 0, -1 and blank in {row_text(wrong)}: {values[wrong][0]!r}"
        raise DataError(
            problem, hint="write 1 for present, 0 for absent, -1 for uncertain, and nothing where not known"
        )
    return np.array([TEXTS.get(text, BLANK) for text in texts], dtype=np.int64)


def apply_policy(labels: Integers, *, uncertain: Uncertain, blank: Blank) -> Integers:
    """Return labels as 1, 0, or -1 where an image is left out of what is said about a label.

    Args:
        labels: (n, label) as ``label_numbers`` gives them.
        uncertain: Whether an uncertain label is left out, absent or present.
        blank: Whether a blank is left out or absent.

    Source:
        Irvin et al., CheXpert, AAAI 2019: U-Ignore, U-Zeros, U-Ones.
    """
    for_uncertain = {"ignore": UNKNOWN, "zeros": ABSENT, "ones": PRESENT}[uncertain]
    for_blank = {"ignore": UNKNOWN, "zeros": ABSENT}[blank]
    return np.where(labels == UNCERTAIN, for_uncertain, np.where(labels == BLANK, for_blank, labels))
