"""The benchmark of folds: single networks calibrate themselves, and leave their mean less sure than it could be."""

import numpy as np
import pytest

from benchmarks import folds


def test_networks_have_the_correlation_that_is_asked_for():
    truth, logits = folds.draw(np.random.default_rng(0), 20_000, 3, 0.8)
    within = [np.corrcoef(logits[truth == k].T)[0, 1] for k in (0, 1)]
    assert within == pytest.approx([0.8, 0.8], abs=0.02)
    assert truth.mean() == pytest.approx(folds.PREVALENCE, abs=0.02)


def test_the_less_alike_networks_are_the_less_sure_is_their_calibrated_mean():
    found = {correlation: values for correlation, *values in folds.rows(5, 10)}
    slopes = [found[each][0] for each in folds.CORRELATIONS]
    assert slopes == sorted(slopes)
    assert slopes[0] == pytest.approx(1, abs=0.05)  # networks that agree are as one
    assert slopes[-1] > 1.3
    excess = [found[each][3] for each in folds.CORRELATIONS]
    assert all(value >= 0 for value in excess)
    assert excess[0] < 0.003 < excess[-1]
