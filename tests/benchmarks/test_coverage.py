"""The benchmark of coverage: true values are true, draws are repeatable, and an interval that is too narrow is seen."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import coverage, simulated
from benchmarks.coverage import Measure, Situation
from benchmarks.simulated import Law, Sample
from effmed.evaluate.intervals import Counts, not_estimable

CHANCE = 7
MISCALIBRATED = Law(0.3, **coverage.MISCALIBRATED)


def situation(name):
    return next(each for each in coverage.situations() if each.name == name)


def narrowed(measure):
    def estimate(sample):
        full, _ = measure.estimate(sample)
        half = (full.high - full.low) / 4
        middle = (full.high + full.low) / 2
        return replace(full, low=middle - half, high=middle + half), None

    return replace(measure, estimate=estimate)


def test_two_situations_give_finite_coverage_and_the_same_again():
    only = "brier, 40 patients, prevalence 0.3, label by"
    first = list(coverage.make_rows(n_draws=20, seed=3, only=only))
    assert len(first) == 4
    assert all(0 <= row.coverage <= 1 and row.width > 0 and np.isfinite(row.coverage_se) for row in first)
    assert list(coverage.make_rows(n_draws=20, seed=3, only=only)) == first
    assert list(coverage.make_rows(n_draws=20, seed=4, only=only)) != first


def test_a_figure_does_not_depend_on_what_else_is_measured():
    one = situation("25 patients, prevalence 0.3, label by patient")
    together = coverage.measure_coverage(one, n_draws=20, seed=0)
    alone = list(coverage.make_rows(n_draws=20, seed=0, only=f"slope, {one.name}"))
    assert alone[0] == next(row for row in together if row.measure == "slope")


def test_an_interval_half_as_wide_falls_short():
    good = situation("100 images, prevalence 0.3, independent")
    measure = next(each for each in good.measures if each.name == "brier")
    right, narrow = (
        coverage.measure_coverage(replace(good, measures=(each,)), n_draws=500, seed=0)[0]
        for each in (measure, narrowed(measure))
    )
    assert right.coverage > 0.92
    assert narrow.coverage < 0.75  # 1.96 / 2 standard errors hold 67 %
    assert narrow.width == pytest.approx(right.width / 2)
    assert narrow.too_low_fraction + narrow.too_high_fraction == pytest.approx(1 - narrow.coverage)


def test_draws_without_an_interval_are_counted_apart():
    def estimate(sample):
        measure = not_estimable("odd", Counts(1, 0, None))
        return (measure, None) if sample.truth[0] else coverage._brier(sample)

    def draw(chance):
        return simulated.draw_images(chance, Law(0.5), 30)

    always = Measure("never", 0.5, lambda sample: (not_estimable("always", Counts(1, 0, None)), None))
    half = Measure("half", simulated.true_brier(Law(0.5)), estimate)
    rows = coverage.measure_coverage(Situation("made up", draw, (always, half)), n_draws=100, seed=0)
    assert (rows[0].missing_fraction, rows[0].coverage, rows[0].width) == (1, None, None)
    assert 0.3 < rows[1].missing_fraction < 0.7
    assert rows[1].coverage > 0.8


def test_outermost_limits_hold_the_truth_more_often_and_only_where_images_are_few():
    few, many = (situation(f"{size} images, AUROC {auroc}") for size, auroc in (("10 / 90", 0.98), ("60 / 240", 0.8)))
    row = coverage.measure_coverage(few, n_draws=100, seed=0)[0]
    assert row.outermost >= row.coverage
    assert coverage.measure_coverage(many, n_draws=5, seed=0)[0].outermost is None


@pytest.mark.parametrize("law", [Law(0.1), MISCALIBRATED])
@pytest.mark.parametrize("shared", [(0.0, 0.0), (1.0, 0.5)])
def test_true_values_are_those_of_a_large_sample_whatever_patients_share(law, shared):
    sample = simulated.draw_patients(np.random.default_rng(CHANCE), law, 20_000, *shared)
    for measure in coverage.measures_of(law):
        estimate, _ = measure.estimate(sample)
        se = (estimate.high - estimate.low) / 3.92
        assert abs(estimate.value - measure.truth) < 3.5 * se, measure.name
        assert se < 0.1, measure.name


def test_a_calibrated_network_is_one():
    names = {each.name: each.truth for each in coverage.measures_of(Law(0.2))}
    assert names["slope"] == 1
    assert names["citl"] == pytest.approx(0, abs=1e-9)
    assert simulated.true_citl(Law(0.2, intercept=-0.7)) == pytest.approx(-0.7)


@pytest.mark.parametrize(("spread", "levels"), [(0.5, False), (2.0, False), (1.0, True)])
def test_scores_of_the_classes_have_the_auroc(spread, levels):
    mean = simulated.mean_of_positives(0.9, spread)
    truth = simulated.auroc_of_levels(mean, spread) if levels else 0.9
    sample = simulated.draw_classes(
        np.random.default_rng(CHANCE), 40_000, 40_000, mean=mean, spread=spread, levels=levels
    )
    assert roc_auc_score(sample.truth, sample.logits) == pytest.approx(truth, abs=0.004)
    assert not levels or set(sample.logits) == {0, 1, 2, 3, 4}


def test_patients_share_labels_and_successes_as_named():
    law = Law(0.3)
    by_patient = simulated.draw_patients(np.random.default_rng(CHANCE), law, 500, 1.0, 0.5)
    assert all(np.ptp(by_patient.truth[by_patient.patients == number]) == 0 for number in range(500))
    successes = simulated.draw_successes(np.random.default_rng(CHANCE), 30_000, 0.8, clustered=True)
    assert icc_of_pairs(successes) == pytest.approx(simulated.ICC, abs=0.03)
    assert successes.truth.mean() == pytest.approx(0.8, abs=0.01)


def icc_of_pairs(sample: Sample):
    """Correlate the first two images of each patient that has two."""
    starts = np.flatnonzero(np.diff(sample.patients, prepend=-1))
    starts = starts[np.append(np.diff(starts), sample.truth.size - starts[-1]) > 1]
    return np.corrcoef(sample.truth[starts], sample.truth[starts + 1])[0, 1]


def test_every_situation_has_a_name_of_its_own():
    names = [each.name for each in coverage.situations()]
    assert len(set(names)) == len(names)


def test_the_table_and_the_json_hold_the_same(capsys):
    arguments = ["--draws", "3", "--only", "auroc, 10 / 90 images, AUROC 0.8, 5"]
    coverage.main(coverage.parse(arguments))
    line = capsys.readouterr().out.splitlines()[2]
    coverage.main(coverage.parse([*arguments, "--json"]))
    (row,) = json.loads(capsys.readouterr().out)
    assert line.startswith(f"auroc    {row['situation']}  {row['truth']:.3f}  {row['coverage']:.3f}")
    assert list(islice(row, 2)) == ["measure", "situation"]
