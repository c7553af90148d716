"""Labels that have nothing to do with the images: no step from splitting to the report may make them look learnable."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from effmed import workflows
from effmed.workflows.catalogue import find_recipe
from effmed.workflows.values import Training

SETTINGS = (
    "model.weights=none", "model.image_size=32", "train.epochs=60", "train.patience=60", "train.threads=1",
    "train.batch_size=16", "train.learning_rate=0.003", "data.patient_column=patient",
)  # fmt: skip
N_PATIENTS, N_VIEWS = 120, 2
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of patients, two alike of each: noise and a place of their own, bright in one half of them."""
    root = tmp_path_factory.mktemp("pictures")
    rows = []
    for k in range(N_PATIENTS):
        chance, sick = np.random.default_rng(k), k % 2
        own = chance.integers(0, 80, (40, 40))
        row, column = chance.integers(2, 26, 2)
        own[row : row + 12, column : column + 12] += 110 * sick
        for i in range(N_VIEWS):
            noise = np.random.default_rng([k, i]).integers(0, 20, own.shape)
            cv2.imwrite(str(root / f"{k:03d}_{i}.png"), (own + noise).astype(np.uint8))
            rows.append({"path": f"{k:03d}_{i}.png", "patient": f"q{k:03d}", "label": "sick" if sick else "well"})
    return root, pd.DataFrame(rows)


def shuffled(table):
    """Labels of other patients; both pictures of a patient have the same."""
    patients = table["patient"].unique()
    mixed = np.random.default_rng(0).permutation(table.drop_duplicates("patient")["label"].to_numpy())
    return table.assign(label=table["patient"].map(dict(zip(patients, mixed, strict=True))))


def auroc_on_test(root, table, folder, *settings):
    """Train, calibrate and report by the command; returns value and interval of the AUROC on test."""
    labels = folder / "labels.csv"
    table.to_csv(labels, index=False)
    recipe = find_recipe(None, [*SETTINGS, *settings])
    workflows.train(Training("timm:test_efficientnet", root, labels, recipe, folder / "run"))
    report = json.loads((folder / "run" / "report.json").read_text())
    (found,) = [
        (metric["value"], metric["low"], metric["high"])
        for metric in report["metrics"]
        if (metric["name"], metric["stage"], metric["subgroup"]) == ("auroc", "calibrated", None)
    ]
    return found


def test_true_labels_are_learned(pictures, tmp_path):
    """Without this the next test would pass for a network that learns nothing."""
    _, low, _ = auroc_on_test(*pictures, tmp_path)
    assert low > 0.6


def test_shuffled_labels_are_not(pictures, tmp_path):
    root, table = pictures
    value, low, high = auroc_on_test(root, shuffled(table), tmp_path)
    assert low < 0.5 < high, value


def test_shuffled_labels_would_be_learned_through_a_leak(pictures, tmp_path):
    """One picture of each patient in train and the other in val or test: the test above would see it."""
    root, table = pictures
    mixed, is_first = shuffled(table), table.groupby("patient").cumcount() == 0
    in_val = table["patient"].str[1:].astype(int) % 6 == 0
    split = np.where(is_first, "train", np.where(in_val, "val", "test"))  # val too: it chooses the epoch
    names = table["patient"] + np.where(is_first, "a", "b")
    leaking = mixed.assign(split=split, patient=names)
    allowed = "audit.allow=[conflicting-labels,identical-pixels,near-duplicates]"
    _, low, _ = auroc_on_test(root, leaking, tmp_path, allowed)
    assert low > 0.5
