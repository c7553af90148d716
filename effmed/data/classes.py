"""Class names in the order of the network's outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from effmed.recipe import DataSettings

NEGATIVE_NAMES = {
    "normal", "no_finding", "no_findings", "nofinding", "nofindings", "none", "negative", "neg", "healthy", "control",
    "controls", "benign", "clear", "absent", "no", "0", "false", "background", "unremarkable",
}  # fmt: skip


def order_classes(names: Iterable[str], settings: DataSettings) -> tuple[tuple[str, ...], str]:
    """Put class names in the order of the network's outputs, the positive one of two last.

    Returns:
        The names, and a sentence on how the order was found.

    Raises:
        DataError: ``data.positive_class`` is not one of two classes.
    """
    classes = tuple(sorted(set(names), key=lambda name: (int(name) if name.isdecimal() else -1, name)))
    wanted = settings.positive_class
    if wanted != "auto":
        if len(classes) != 2 or wanted not in classes:
            problem = f"data.positive_class = {wanted!r}, but the classes are {', '.join(classes)}"
            raise DataError(problem, hint="name one of exactly two classes, or leave it out")
        return tuple(sorted(classes, key=lambda name: name == wanted)), f"positive class {wanted}: set by the recipe"
    if len(classes) != 2:
        return classes, f"{len(classes)} classes in the order of their names"
    negative = [name for name in classes if _plain(name) in NEGATIVE_NAMES]
    if len(negative) == 1:
        positive = next(name for name in classes if name not in negative)
        why = "is the smaller number" if negative[0].isdigit() else "reads like the absence of a finding"
        return (negative[0], positive), f"positive class {positive}: {negative[0]} {why} (data.positive_class)"
    return classes, f"positive class {classes[1]}: the last by its name (data.positive_class)"


def check_task(classes: tuple[str, ...], settings: DataSettings) -> None:
    """Make sure that classes which exclude each other are as many as the recipe's task says.

    Raises:
        DataError: They are not.
    """
    found = "binary" if len(classes) == 2 else "multiclass"
    if settings.task in ("auto", found):
        return
    problem = f"data.task = {settings.task}, but every image is of one of {len(classes)} classes: {', '.join(classes)}"
    hint = "several labels stand in a table, a column for each or names between bars: see data.label_columns"
    other = f"leave data.task out, or --set data.task={found}"
    raise DataError(problem, hint=hint if settings.task == "multilabel" else other)


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
