"""Builders of predictions tables that are compared."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from effmed.evaluate.comparison import compare
from effmed.evaluate.predictions.reading import logits_of
from effmed.evaluate.predictions.table import arranged, output_classes
from effmed.recipe import ReportSettings

VECTORS = Path(__file__).parent.parent / "vectors"
EXPECTED = json.loads((VECTORS / "expected.json").read_text(encoding="utf-8"))["r"]
FEW_DRAWS = ReportSettings(bootstrap_replicates=100)
TWO = ("clear", "opacity")


def table(truth, probability, *, classes=TWO, threshold=None, **columns):
    """A table of images ``image 0`` … with class numbers as truth; of two classes the positive's probability.

    Args:
        truth: (n,) class numbers, or None where unknown.
        probability: (n,) of the positive of two classes, else (n, class).
        classes: Their names.
        threshold: Where the probability of the positive class becomes a decision; None for no decisions.
        columns: Any other column instead.
    """
    probability = np.asarray(probability, dtype=np.float64)
    if probability.ndim == 1:
        probability = np.column_stack([1 - probability, probability])
    n = len(probability)
    values = {
        "image": [f"image {row}" for row in range(n)],
        "frame": np.zeros(n, dtype=np.int64),
        "truth": [None if number is None else classes[number] for number in truth],
        "decision": "" if threshold is None else np.array(classes)[(probability[:, -1] >= threshold).astype(int)],
        "status": "ok",
    }
    values |= {f"probability_{name}": probability[:, i] for i, name in enumerate(classes)}
    logits = logits_of(probability)
    values |= {f"logit_{name}": logits[:, i] for i, name in enumerate(output_classes(classes))}
    return arranged(values | columns, n, classes)


def vectors(name, model, threshold=None):
    """A table of the reference data sets, with their images and patients."""
    frame = pd.read_csv(VECTORS / f"{name}.csv", dtype={"patient": str, "image": str})
    patients = {"patient": frame["patient"]} if "patient" in frame else {}
    return table(frame["y"], frame[f"p_{model}"], threshold=threshold, **patients)


def some(n=80, seed=0, images=1, **columns):
    """Truths, and the probabilities of two networks, the first the better one; patients of so many images."""
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) % 3 == 0).astype(int)
    own = rng.normal(truth, 1.0, n)
    first, second = own + rng.normal(0, 0.5, n), own + rng.normal(0, 1.5, n)
    patient = [f"P{row // images}" for row in range(n)]
    return truth, *(1 / (1 + np.exp(-each)) for each in (first, second)), patient


def two(n=80, seed=0, images=1, threshold=0.5):
    """Two tables of the same images."""
    truth, first, second, patient = some(n, seed, images)
    return [table(truth, each, threshold=threshold, patient=patient) for each in (first, second)]


def several(n=120, seed=0, classes=("a", "b", "c"), images=1, noise=(0.5, 1.5)):
    """Two tables of several classes in turn; what misleads one network misleads the other."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % len(classes)
    patient = [f"P{row // images}" for row in range(n)]
    shown, tables = 1.5 * np.eye(len(classes))[truth] + rng.normal(size=(n, len(classes))), []
    for scale in noise:
        odds = np.exp(shown + scale * rng.normal(size=(n, len(classes))))
        probability = odds / odds.sum(axis=1, keepdims=True)
        tables.append(table(truth, probability, classes=classes, patient=patient))
    return tables


def rows(first, second, settings=FEW_DRAWS):
    """The differences by (name, class, threshold)."""
    found = compare(first, second, settings, names=("A", "B")).differences
    return {(each.name, each.class_name, each.threshold): each for each in found}


def one(first, second, name, settings=FEW_DRAWS):
    """The only difference of that name."""
    (found,) = (each for each in rows(first, second, settings).values() if each.name == name)
    return found
