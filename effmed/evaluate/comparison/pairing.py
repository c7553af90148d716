"""Two predictions tables → the images that both judge, row by row; or why they cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effmed.errors import DataError, shortened
from effmed.evaluate.intervals import Floats, Integers, Patients
from effmed.evaluate.predictions import UNKNOWN, Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEARLY_ONE = 1 - 1e-9  # above it float64 has too few digits to tell probabilities apart; what is left to 1 has them


@dataclass(frozen=True)
class Judged:
    """What one network said about the compared images.

    Attributes:
        name: Of the network.
        probability: (n, class), as the table gives them.
        called: Number of the class that each image was decided to be, (n,); -1 where there is no decision.
        scores: (n,) of the positive of two classes, where the table holds no more than scores that rank; else None.
    """

    name: str
    probability: Floats
    called: Integers
    scores: Floats | None = None

    @property
    def is_blind(self) -> bool:
        """Whether all of several images are judged alike."""
        values = self.probability if self.scores is None else self.scores
        return len(values) > 1 and not np.ptp(values, axis=0).any()

    def ranks(self, number: int) -> Floats:
        """Return the place of each image by the probability of a class, (n,), lowest first, ties alike.

        Only the order matters to an AUROC; ranks are finite, and keep apart what rounds to 1.
        """
        if self.scores is not None:
            return np.unique(self.scores if number else -self.scores, return_inverse=True)[1].astype(np.float64)
        own, others = self.probability[:, number], np.delete(self.probability, number, axis=1).sum(axis=1)
        with np.errstate(divide="ignore"):
            order = np.where(own > NEARLY_ONE, -np.log(others), own)  # the logarithm is above 1 there
        return np.unique(order, return_inverse=True)[1].astype(np.float64)


@dataclass(frozen=True)
class Pair:
    """Two networks on the same images.

    Attributes:
        truth: Class numbers, (n,).
        patients: (n,), or None where images count as independent.
        classes: In the order of the outputs.
        first: One network.
        second: The other.
        n_left_out: Images of the tables that are not compared.
        warnings: What to know about how images were matched and left out.
    """

    truth: Integers
    patients: Patients
    classes: tuple[str, ...]
    first: Judged
    second: Judged
    n_left_out: int
    warnings: tuple[str, ...]

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes, so that one is the event."""
        return len(self.classes) == 2

    @property
    def judged(self) -> tuple[int, ...]:
        """Numbers of the classes that are judged against the rest: the positive one of two, else all."""
        return (1,) if self.is_binary else tuple(range(len(self.classes)))

    @property
    def both(self) -> tuple[Judged, Judged]:
        """The networks in their order."""
        return self.first, self.second

    @property
    def is_scored(self) -> bool:
        """Whether either table holds no more than scores, so that nothing but the rankings can be compared."""
        return any(judged.scores is not None for judged in self.both)

    @property
    def is_same(self) -> bool:
        """Whether both networks give every image the same probabilities."""
        if self.is_scored:
            return np.array_equal(self.first.ranks(1), self.second.ranks(1))
        return np.array_equal(self.first.probability, self.second.probability)


def make_pair(first: Predictions, second: Predictions, names: tuple[str, str]) -> Pair:
    """Match the rows of two tables by image and frame, in the order of the first.

    Args:
        first: One table.
        second: The other; its rows may stand in another order.
        names: What the tables are called in messages.

    Raises:
        DataError: Classes, images, truths or patients differ, an image occurs twice or has no id, no image is
            readable and of known truth in both tables, or the labels of a table do not exclude each other.
    """
    _check_exclusive((first, second), names)
    second = _with_classes(first, second, names)
    ids = _ids(first, names[0]), _ids(second, names[1])
    _check_same_ids(ids, names)
    row_of = {each: row for row, each in enumerate(ids[1])}
    order = [row_of[each] for each in ids[0]]
    second = replace(second, frame=second.frame.iloc[order].reset_index(drop=True))
    by_row = _by_row(ids, names)
    _check_truth(first, second, (ids[0], names), strict=bool(by_row))
    patients, notes = _patients(first, second, (ids[0], names))
    chosen, left_out = _chosen(first, second)
    if not chosen.any():
        problem = f"no image is readable and of known truth in both {names[0]} and {names[1]}"
        raise DataError(problem, hint="name the column of the true class: --set columns.truth=COLUMN")
    return Pair(
        truth=first.truth[chosen],
        patients=_complete(patients, chosen, ids[0]),
        classes=first.classes,
        first=_judged(first, chosen, names[0]),
        second=_judged(second, chosen, names[1]),
        n_left_out=int((~chosen).sum()),
        warnings=(*by_row, *notes, *left_out),
    )


def _check_exclusive(tables: tuple[Predictions, Predictions], names: tuple[str, str]) -> None:
    for table, name in zip(tables, names, strict=True):
        if table.is_multilabel:
            problem = f"the labels of {name} ({shortened(table.classes)}) do not exclude each other"
            hint = "compare one label at a time: a table with its truth_ as truth and its probability_ as probability"
            raise DataError(f"{problem}, and such labels are not compared", hint=hint)


def _with_classes(first: Predictions, second: Predictions, names: tuple[str, str]) -> Predictions:
    """Return the second table with its classes in the first's order; of two the order says which is positive."""
    if len(first.classes) > 2 and sorted(first.classes) == sorted(second.classes):
        return Predictions(second.frame, first.classes)
    if first.classes != second.classes:
        classes = [", ".join(table.classes) for table in (first, second)]
        problem = f"the classes of {names[0]} are {classes[0]}, those of {names[1]} are {classes[1]}"
        hint = "name the classes alike in truth and probability_<class>; of two the second is the positive one"
        raise DataError(problem, hint=hint)
    return second


def _ids(table: Predictions, name: str) -> list[tuple[str, int]]:
    """Return (image, frame) of each row."""
    images = table.frame["image"]
    if images.isna().any():
        problem = f"{int(images.isna().sum())} rows of {name} do not say which image they are about"
        raise DataError(problem, hint="fill the image column: rows are matched by it")
    ids = list(zip(images.to_numpy(object), table.frame["frame"].tolist(), strict=True))
    twice = np.asarray(pd.Series(ids, dtype=object).duplicated(), dtype=bool)
    if twice.any():
        problem = f"images occur more than once in {name}: {_named(ids, twice)}"
        raise DataError(problem, hint="give every image one row")
    return ids


def _check_same_ids(ids: tuple[list[tuple[str, int]], list[tuple[str, int]]], names: tuple[str, str]) -> None:
    for own, other, name in ((ids[0], ids[1], names[0]), (ids[1], ids[0], names[1])):
        known = set(other)
        alone = np.array([each not in known for each in own], dtype=bool)
        if alone.any():
            problem = f"{int(alone.sum())} images stand in {name} alone: {_named(own, alone)}"
            hint = "compare predictions of the same images, in both tables under the same names (column image)"
            raise DataError(problem, hint=hint)


def _named(ids: list[tuple[str, int]], mask: NDArray[np.bool_]) -> str:
    return shortened(ids[row][0] + (f" frame {ids[row][1]}" if ids[row][1] else "") for row in np.flatnonzero(mask))


def _by_row(ids: tuple[list[tuple[str, int]], list[tuple[str, int]]], names: tuple[str, str]) -> list[str]:
    """Warn where a table's ids are but the numbers of its rows, which a table without an image column gets."""
    unnamed = [name for own, name in zip(ids, names, strict=True) if own == [(str(row), 0) for row in range(len(own))]]
    if not unnamed:
        return []
    return [f"Images were matched by row: {' and '.join(unnamed)} names none. Only the truths say that rows agree."]


def _check_truth(
    first: Predictions, second: Predictions, about: tuple[list[tuple[str, int]], tuple[str, str]], *, strict: bool
) -> None:
    """Refuse truths that differ; ``strict`` also those that only one of the tables knows."""
    ids, names = about
    known = (first.truth != UNKNOWN) & (second.truth != UNKNOWN)
    differs = (first.truth != second.truth) & (known | strict)
    if differs.any():
        problem = f"{int(differs.sum())} images have another truth in {names[0]} than in {names[1]}"
        hint = "compare predictions against one truth, in tables that name their images in a column image"
        raise DataError(f"{problem}: {_named(ids, differs)}", hint=hint)


def _patients(
    first: Predictions, second: Predictions, about: tuple[list[tuple[str, int]], tuple[str, str]]
) -> tuple[pd.Series[Any], list[str]]:
    """Return the patient of each row; what one table does not know is taken from the other, with a warning."""
    ids, names = about
    own, other = first.frame["patient"], second.frame["patient"]
    differs = np.asarray((own.notna() & other.notna() & (own.fillna("") != other.fillna(""))), dtype=bool)
    if differs.any():
        problem = f"{int(differs.sum())} images have another patient in {names[0]} than in {names[1]}"
        hint = "if only the pseudonyms differ, leave the patient column out of one table: the other's counts"
        raise DataError(f"{problem}: {_named(ids, differs)}", hint=hint)
    notes = [
        f"{name} does not say the patients of {int(gaps.sum())} images: those of {source} were taken."
        for name, source, gaps in (
            (names[0], names[1], own.isna() & other.notna()),
            (names[1], names[0], other.isna() & own.notna()),
        )
        if gaps.any()
    ]
    return own.fillna(other), notes


def _complete(patients: pd.Series[Any], chosen: NDArray[np.bool_], ids: list[tuple[str, int]]) -> Patients:
    """Return the patients of the chosen rows; None where no image has one."""
    gaps = np.asarray(patients.isna(), dtype=bool) & chosen
    if gaps.sum() == chosen.sum():
        return None
    if gaps.any():
        problem = f"no patient is given for {int(gaps.sum())} images: {_named(ids, gaps)}"
        raise DataError(problem, hint="fill the patient column, or leave it out for independent images")
    return np.asarray(patients[chosen].to_numpy(object))


def _chosen(first: Predictions, second: Predictions) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which rows are readable and of known truth in both tables, and say which are left out."""
    readable = [np.asarray(table.frame["status"].to_numpy(object) == "ok") for table in (first, second)]
    known = [table.truth != UNKNOWN for table in (first, second)]
    both_readable, both_known = readable[0] & readable[1], known[0] & known[1]
    one_readable = readable[0] != readable[1]
    one_known = both_readable & (known[0] != known[1])
    chosen = both_readable & both_known
    counts = {
        "{n} readable in only one of the two tables {are} left out.": one_readable,
        "{n} whose truth only one of the two tables knows {are} left out.": one_known,
        "{n} unreadable or of unknown truth in both tables {are} left out.": ~(chosen | one_readable | one_known),
    }
    return chosen, [_count_text(text, int(mask.sum())) for text, mask in counts.items() if mask.any()]


def _count_text(text: str, n: int) -> str:
    return text.format(n=f"{n:,} image{'' if n == 1 else 's'}", are="is" if n == 1 else "are")


def _judged(table: Predictions, chosen: NDArray[np.bool_], name: str) -> Judged:
    probability = table.probability[chosen]
    if len(table.classes) > 2:
        return Judged(name, probability, np.asarray(probability.argmax(axis=1), dtype=np.int64))
    if table.is_scored:
        return Judged(name, probability, np.full(len(probability), UNKNOWN), scores=table.logits[chosen, 0])
    number = {class_name: index for index, class_name in enumerate(table.classes)}
    decisions = table.frame["decision"].to_numpy(object)[chosen]
    return Judged(name, probability, np.array([number.get(each, UNKNOWN) for each in decisions], dtype=np.int64))
