"""Builders for the tests of predictions and reports."""

import numpy as np
import pandas as pd

from effmed.evaluate.calibrators import Affine, Calibrator, calibrate, identity_calibrator, probabilities
from effmed.evaluate.decisions import Decisions, OperatingPoint
from effmed.evaluate.predictions import make_predictions
from effmed.evaluate.report import ReportContext
from effmed.recipe import DecisionSettings


def calibrator(n_outputs=1, **changes):
    """Platt's for two classes, bias-corrected temperature for more; fitted on val."""
    values = {
        "method": "platt" if n_outputs == 1 else "bias-corrected-temperature",
        "maps": (Affine(scale=(0.7,) * n_outputs, bias=(0.2,) * n_outputs),),
        "prior_shift": (0.0,) * n_outputs,
        "fitted_on": "val",
        "n": 120,
        "n_events": 40,
        "prevalence": (0.5, 0.5) if n_outputs == 1 else (1 / n_outputs,) * n_outputs,
        "reason": "",
    }
    return Calibrator(**(values | changes))


def identity(n_outputs=1, reason="", **changes):
    """Takes probabilities as they are."""
    return identity_calibrator(n_outputs, reason).model_copy(update=changes)


def decision(**changes):
    """By which rules decisions are chosen."""
    return DecisionSettings(**changes)


def point(class_name="opacity", threshold=0.4, **changes):
    """An operating point chosen on val."""
    values = {
        "class_name": class_name,
        "threshold": threshold,
        "rule": "sensitivity >= 0.9",
        "chosen_on": "val",
        "n": 120,
        "n_events": 40,
        "exploratory": False,
        "digest": "0" * 64,
        "sensitivity": 0.9,
        "specificity": 0.7,
    }
    return OperatingPoint(**(values | changes))


def context(n_outputs=1, **changes):
    """A report context of a run's own test split."""
    values = {
        "run": "xrays-b0-1",
        "variant": "b0",
        "split": "test",
        "calibrator": calibrator(n_outputs),
        "operating_points": (point(),) if n_outputs == 1 else (),
        "facts": {"network": "tf_efficientnet_b0"},
    }
    return ReportContext(**(values | changes))


RUN_FACTS = {
    "network": "tf_efficientnet_b0, 224 × 224 px, 3 channel(s)",
    "starting weights": "hub timm/tf_efficientnet_b0.in1k",
    "training images": "400",
    "validation images": "100",
    "preprocessing": "DICOM window stored; fitted into 224 × 224 px on black, proportions kept",
    "frames": "files of several frames are refused",
    "best epoch": "7 of at most 20, chosen by auroc on val",
    "device": "cpu",
    "patients": "train 200, val 50, test 30",
    "weights SHA-256": "ab" * 32,
    "software": "effmed 0.1.0, torch 2.9.0",
    "audit of the data": "no finding",
}


def run_context(n_outputs=1, **changes):
    """A report context that knows all about its run."""
    return context(n_outputs, **({"facts": RUN_FACTS} | changes))


def frame(labels, **columns):
    """A manifest's frame with two images per patient."""
    n = len(labels)
    values = {
        "image": [f"secret/{row}.dcm" for row in range(n)],
        "frame": 0,
        "patient": [f"PAT-{row // 2}" for row in range(n)],
        "study": None,
        "label": labels,
        "rows": 512,
    }
    return pd.DataFrame(values | columns)


def binary(n=60, seed=0, failures=None, logits=None, point=point, calibrator=calibrator, **columns):
    """Predictions of (clear, opacity), a third of them opacity."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3 == 0
    labels = np.where(truth, "opacity", "clear")
    values = rng.normal(np.where(truth, 1.0, -1.0), 1.2)[:, None] if logits is None else logits
    return make_predictions(
        frame(columns.pop("label", labels), **columns),
        ("clear", "opacity"),
        values,
        calibrator=calibrator(),
        decisions=Decisions((point(),) if point else ()),
        failures=failures or {},
    )


def several(n=90, seed=0, classes=("a", "b", "c"), labels=None, **columns):
    """Predictions of several classes in turn."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % len(classes) if labels is None else labels
    logits = np.eye(len(classes))[truth] * 1.5 + rng.normal(size=(n, len(classes)))
    return make_predictions(
        frame([classes[number] for number in truth], **columns),
        classes,
        logits,
        calibrator=calibrator(len(classes)),
        decisions=Decisions(),
        failures={},
    )


def calibrated(logits, n_outputs=1):
    """The probabilities of the builder's calibrator."""
    return probabilities(calibrate(calibrator(n_outputs), logits))
