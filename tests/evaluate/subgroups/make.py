"""Builders for the tests of subgroups."""

import numpy as np
from scipy.special import expit

from effmed.evaluate.subgroups import make_judged


def drawn(n=400, *, seed=0, images_per_patient=1):
    """Truth, logits, decisions and patients (every patient's images in a row) of a calibrated network."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 1.5 - 0.5
    truth = (rng.random(n) < expit(logits)).astype(np.int64)
    return truth, logits, logits > -0.3, np.arange(n) // images_per_patient


def judged(n=400, *, seed=0, images_per_patient=1, patients=True):
    truth, logits, called, numbers = drawn(n, seed=seed, images_per_patient=images_per_patient)
    return make_judged(truth, logits, logits, called=called, patients=numbers if patients else None)
