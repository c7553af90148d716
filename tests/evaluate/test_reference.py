"""Every reference number of independent implementations (R and Python) that belongs to a function here."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit, softmax

from effmed.evaluate import calibration, calibrators, decisions, discrimination
from effmed.evaluate.calibrators.ranks import fit_isotonic
from effmed.evaluate.calibrators.sigmoid import fit_platt
from effmed.evaluate.discrimination.auroc import auroc_covariance, newcombe_interval, place
from effmed.evaluate.intervals import (
    bootstrap,
    bootstrap_totals,
    clopper_pearson_interval,
    make_units,
    patients_per_class,
    t_quantile,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).parent / "vectors"
EXPECTED = json.loads((VECTORS / "expected.json").read_text(encoding="utf-8"))
R, PY = EXPECTED["r"], EXPECTED["py"]

EXACT, CLOSE, FITTED, BOOTSTRAP_LIMIT = 1e-10, 1e-8, 1e-6, 0.005
NETCAL_TOLERANCE = 2e-5  # its optimiser stops early: 5e-6 of a temperature of 2, 7e-6 of 2.5
BETACAL_TOLERANCE, SKLEARN_TOLERANCE = 1e-3, 1e-5  # likewise of the parameters of scikit-learn's logistic regression
CORP_TOLERANCE, SMECE_TOLERANCE, TEMPERATURE_TOLERANCE, RMS_TOLERANCE = 1e-9, 1e-3, 1e-5, 1e-5
NET_BENEFIT_PREVALENCE = 0.05
SINGLE_FILES = ("n40_ties", "n500_imb", "n5000")


@dataclass(frozen=True)
class Reference:
    name: str
    actual: Callable[[], Any]
    expected: Any
    tolerance: float
    relative: float = 0.0


@cache
def table(name: str) -> pd.DataFrame:
    return pd.read_csv(VECTORS / f"{name}.csv")


@cache
def arrays(name: str, column: str) -> np.ndarray:
    return table(name)[column].to_numpy()


def truth(name: str) -> np.ndarray:
    return arrays(name, "y")


def limits(estimate: Any) -> tuple[float, float]:
    return estimate.low, estimate.high


def rarer_quantile(y: np.ndarray, patients: np.ndarray | None = None) -> float:
    return t_quantile(min(patients_per_class(y, make_units(patients, y.size))) - 1)


def half_width(estimate: Any) -> float:
    return (estimate.high - estimate.low) / 2


# ---------------------------------------------------------------- discrimination


def auroc_references(label: str, y: np.ndarray, p: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    @cache
    def intervals() -> Any:
        return discrimination.auroc_intervals(y, p)

    def newcombe() -> Any:
        return newcombe_interval(intervals().estimate.value, int(y.sum()), int((1 - y).sum()))

    yield Reference(f"{label}/auroc", lambda: intervals().estimate.value, expected["auc_pROC"], EXACT)
    yield Reference(f"{label}/auroc PRROC", lambda: intervals().estimate.value, expected["auc_PRROC"], EXACT)
    yield Reference(f"{label}/variance", lambda: intervals().variance, expected["var_delong_pROC"], EXACT)
    yield Reference(f"{label}/wald", lambda: intervals().wald, expected["ci95_delong_pROC"], EXACT)
    t_limits = expected["ci95_delong_logit_t_minmn_df"]
    yield Reference(f"{label}/logit t", lambda: limits(intervals().estimate), t_limits, EXACT)
    yield Reference(f"{label}/newcombe", newcombe, expected["ci95_newcombe_method5_CalibrationCurves"], EXACT)
    partial = expected["pauc_fpr10_mcclish_pROC"]
    yield Reference(f"{label}/partial", lambda: discrimination.partial_auroc(y, p), partial, EXACT)


def paired_references(label: str, y: np.ndarray, a: np.ndarray, b: np.ndarray, expected: Any) -> Iterator[Reference]:
    @cache
    def difference() -> Any:
        return discrimination.auroc_difference(y, a, b)

    def covariance() -> float:
        return auroc_covariance(place(y, a), place(y, b), y, make_units(None, y.size))

    yield Reference(f"{label}/difference", lambda: difference().estimate.value, expected["diff_a_minus_b"], EXACT)
    yield Reference(f"{label}/limits", lambda: limits(difference().estimate), expected["ci95_diff_pROC"], EXACT)
    yield Reference(f"{label}/z", lambda: difference().z, expected["z_pROC"], CLOSE)
    yield Reference(f"{label}/p", lambda: difference().p_value, expected["p_two_sided_pROC"], EXACT)
    yield Reference(f"{label}/covariance", covariance, expected["cov_delong_pROC"], EXACT)


def ranking_references(name: str, model: str) -> Iterator[Reference]:
    y, p, expected = truth(name), arrays(name, f"p_{model}"), PY[name][f"model_{model}"]
    label = f"{name}/{model}/sklearn"
    yield Reference(f"{label} auroc", lambda: discrimination.auroc(y, p).value, expected["auc_sklearn"], EXACT)
    precision = expected["average_precision_step_sklearn"]
    yield Reference(f"{label} AP", lambda: discrimination.average_precision(y, p), precision, EXACT)
    partial = expected["pauc_fpr10_mcclish_sklearn"]
    yield Reference(f"{label} partial", lambda: discrimination.partial_auroc(y, p), partial, EXACT)


# ---------------------------------------------------------------- calibration


def regression_references(label: str, y: np.ndarray, p: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    for name, key in (("citl", "citl_offset_glm"), ("slope", "slope_glm")):
        measure = getattr(calibration, name)
        estimate = cache(lambda measure=measure: measure(y, logit(p)))
        yield Reference(f"{label}/{name}", lambda e=estimate: e().value, expected[key]["est"], CLOSE)
        yield Reference(
            f"{label}/{name} se", lambda e=estimate: half_width(e()) / 1.959963984540054, expected[key]["se"], FITTED
        )
        yield Reference(f"{label}/{name} wald", lambda e=estimate: limits(e()), expected[key]["wald95"], FITTED)


def score_references(label: str, y: np.ndarray, p: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    ratio, score = expected["oe"], expected["brier"]
    yield Reference(f"{label}/O:E", lambda: calibration.observed_expected(y, p).value, ratio["ratio"], EXACT)
    yield Reference(
        f"{label}/O:E limits", lambda: limits(calibration.observed_expected(y, p)), ratio["ci95_log_debray"], EXACT
    )
    yield Reference(f"{label}/brier", lambda: calibration.brier(y, p).value, score["est"], EXACT)
    yield Reference(
        f"{label}/brier se", lambda: half_width(calibration.brier(y, p)) / rarer_quantile(y), score["se"], EXACT
    )
    yield Reference(
        f"{label}/scaled", lambda: calibration.scaled_brier(y, p, replicates=100).value, score["scaled"], EXACT
    )


def corp_references(label: str, y: np.ndarray, p: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    for score in ("brier", "log"):
        parts = cache(lambda score=score: calibration.corp(y, p, score))
        want = list(expected[f"corp_{score}"].values())
        yield Reference(
            f"{label}/corp {score}",
            lambda parts=parts: [parts().miscalibration, parts().discrimination, parts().uncertainty],
            want,
            CORP_TOLERANCE,
        )


def curve_references(label: str, y: np.ndarray, p: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    for n_knots in (3, 4, 5):
        want = expected["rcs_logit"][f"k{n_knots}"]
        at = np.array(want["curve_at"])
        curve = cache(lambda k=n_knots, at=at: calibration.calibration_curve(y, logit(p), n_knots=k, at=at))
        name = f"{label}/curve {n_knots}"
        yield Reference(f"{name} knots", lambda c=curve: c().knots, want["knots"], EXACT)
        yield Reference(f"{name} observed", lambda c=curve: c().observed, want["curve"], FITTED)
        yield Reference(f"{name} low", lambda c=curve: c().low, want["curve_lo95"], FITTED)
        yield Reference(f"{name} high", lambda c=curve: c().high, want["curve_hi95"], FITTED)
        yield Reference(f"{name} ici", lambda c=curve: c().distance.mean(), want["ici"], CLOSE)
        yield Reference(f"{name} e50", lambda c=curve: np.median(c().distance), want["e50"], CLOSE)
        yield Reference(f"{name} e90", lambda c=curve: np.quantile(c().distance, 0.9), want["e90"], CLOSE)
        yield Reference(f"{name} emax", lambda c=curve: c().distance.max(), want["emax"], CLOSE)


def calibration_references(name: str, model: str) -> Iterator[Reference]:
    y, p = truth(name), arrays(name, f"p_{model}")
    expected, other = R[name][f"calibration_{model}"], PY[name][f"model_{model}"]
    label = f"{name}/{model}"
    yield from regression_references(label, y, p, expected)
    yield from score_references(label, y, p, expected)
    yield from corp_references(f"{label}/Iso", y, p, expected)
    pairs = {f"corp_{score}": _three(other[f"corp_{score}_model_diagnostics"]) for score in ("brier", "log")}
    yield from corp_references(f"{label}/model-diagnostics", y, p, pairs)
    yield from curve_references(label, y, p, expected)
    slope = expected["val.prob_rms"]["Slope"]
    yield Reference(f"{label}/rms slope", lambda: calibration.slope(y, logit(p)).value, slope, RMS_TOLERANCE)
    for key, source in (("log_loss", expected), ("log_loss_sklearn", other)):
        yield Reference(f"{label}/{key}", lambda: calibration.log_loss(y, logit(p)).value, source[key], EXACT)
    yield Reference(f"{label}/brier sklearn", lambda: calibration.brier(y, p).value, other["brier_sklearn"], EXACT)
    scaled = other["d2_brier_sklearn"]
    yield Reference(
        f"{label}/scaled sklearn", lambda: calibration.scaled_brier(y, p, replicates=100).value, scaled, EXACT
    )
    glm = other["statsmodels_glm"]
    yield Reference(f"{label}/statsmodels slope", lambda: calibration.slope(y, logit(p)).value, glm["slope"], CLOSE)
    for key in ("slope", "citl"):
        measure = getattr(calibration, key)
        yield Reference(
            f"{label}/statsmodels {key} se",
            lambda measure=measure: half_width(measure(y, logit(p))) / 1.959963984540054,
            glm[f"{key}_se"],
            FITTED,
        )
    yield Reference(f"{label}/statsmodels citl", lambda: calibration.citl(y, logit(p)).value, glm["citl"], CLOSE)
    yield from error_references(label, y, p, other["ece"])


def error_references(label: str, y: np.ndarray, p: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    smooth, binned = expected["relplot_smECE"], expected["torchmetrics_l1_15"]
    yield Reference(f"{label}/smece", lambda: calibration.smece(y, p, draws=1).estimate.value, smooth, SMECE_TOLERANCE)
    yield Reference(
        f"{label}/ece width", lambda: calibration.ece(y, p, bins="width", draws=1).estimate.value, binned, EXACT
    )


def _three(expected: dict[str, float]) -> dict[str, float]:
    return {key: expected[key] for key in ("miscalibration", "discrimination", "uncertainty")}


# ---------------------------------------------------------------- decisions


def threshold_references(name: str) -> Iterator[Reference]:
    y, p = truth(name), arrays(name, "p_a")
    for expected, other in zip(R[name]["thresholds_a"], PY[name]["thresholds_a"], strict=True):
        called = p >= expected["threshold"]
        label = f"{name}/at {expected['threshold']}"
        yield Reference(
            f"{label}/table",
            lambda called=called: list(vars(decisions.two_by_two(y, called)).values()),
            [expected[key] for key in ("tp", "fp", "fn", "tn")],
            0,
        )
        for rate in ("sensitivity", "specificity", "ppv", "npv", "accuracy"):
            yield from rate_references(f"{label}/{rate}", rate, y, called, expected, other)
        yield from ratio_references(label, y, called, expected)
        for key, own_name in (
            ("lr_pos", "lr_positive"),
            ("lr_neg", "lr_negative"),
            ("balanced_accuracy", "balanced_accuracy"),
        ):
            measure = getattr(decisions, own_name)
            yield Reference(
                f"{label}/sklearn {key}",
                lambda measure=measure, called=called: measure(y, called).value,
                other[key],
                EXACT,
            )


def rate_references(
    label: str, rate: str, y: np.ndarray, called: np.ndarray, expected: dict[str, Any], other: dict[str, Any]
) -> Iterator[Reference]:
    estimate = cache(lambda: getattr(decisions, rate)(y, called))
    want = expected[rate]
    yield Reference(label, lambda: estimate().value, want["est"], EXACT)
    yield Reference(f"{label} Wilson", lambda: limits(estimate()), want["wilson_Hmisc"], EXACT)
    exact = cache(lambda: clopper_pearson_interval(want["x"], want["n"]))
    yield Reference(f"{label} exact", exact, want["clopper_pearson_binom.test"], EXACT)
    if rate in other:
        again = other[rate]["clopper_pearson_statsmodels"]
        yield Reference(f"{label} exact statsmodels", exact, again, EXACT)
        yield Reference(
            f"{label} Wilson statsmodels", lambda: limits(estimate()), other[rate]["wilson_statsmodels"], EXACT
        )


def ratio_references(label: str, y: np.ndarray, called: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    for name, key in (("lr_positive", "lr.pos_epiR"), ("lr_negative", "lr.neg_epiR")):
        estimate = cache(lambda name=name: getattr(decisions, name)(y, called))
        want = expected[key]
        yield Reference(f"{label}/{name}", lambda e=estimate: e().value, want[0], EXACT)
        if want[2] is not None and want[0] > 0:
            yield Reference(f"{label}/{name} limits", lambda e=estimate: limits(e()), want[1:], EXACT)
    at = expected["at_prevalence_0.05"]
    for name in ("ppv", "npv"):
        measure = getattr(decisions, f"{name}_at_prevalence")
        estimate = cache(lambda measure=measure: measure(y, called, NET_BENEFIT_PREVALENCE))
        yield Reference(f"{label}/{name} at 5 %", lambda e=estimate: e().value, at[name], EXACT)
        if None not in at[f"{name}_mercaldo_logit"]:
            want = at[f"{name}_mercaldo_logit"]
            yield Reference(f"{label}/{name} at 5 % limits", lambda e=estimate: limits(e()), want, EXACT)


def net_benefit_references(name: str) -> Iterator[Reference]:
    y = truth(name)
    for source, expected in (("R", R[name]["net_benefit"]), ("dcurves", PY[name]["net_benefit_dcurves_py"])):
        at = expected["thresholds"]
        prevalent = {"prevalence": NET_BENEFIT_PREVALENCE}
        for key, p, options in (
            ("p_a", arrays(name, "p_a"), {}),
            ("p_b", arrays(name, "p_b"), {}),
            ("treat_all", np.ones(y.size), {}),
            ("p_a_at_prevalence_0.05", arrays(name, "p_a"), prevalent),
            ("p_a_at_prevalence_005", arrays(name, "p_a"), prevalent),
            ("all_at_prevalence_0.05", np.ones(y.size), prevalent),
        ):
            if key in expected:
                yield Reference(
                    f"{name}/net benefit {source} {key}",
                    lambda p=p, options=options, at=at: [e.value for e in decisions.net_benefit(y, p, at, **options)],
                    expected[key],
                    EXACT,
                )


def mcnemar_references(name: str) -> Iterator[Reference]:
    y, expected = truth(name), R[name]["mcnemar"]
    a, b = (arrays(name, f"p_{model}") >= expected["threshold"] for model in "ab")
    for rate, mask in (("sensitivity", y == 1), ("specificity", y == 0)):
        want = expected[rate]
        yield Reference(
            f"{name}/mcnemar {rate}",
            lambda mask=mask: list(vars(decisions.mcnemar(y[mask], a[mask], b[mask])).values()),
            [want["a_right_b_wrong"], want["a_wrong_b_right"], want["exact_p"]],
            EXACT,
        )


# ---------------------------------------------------------------- subgroups, patients


def subgroup_references() -> Iterator[Reference]:
    frame = table("n5000")
    parts = {group: frame[frame.group == group] for group in "AB"}
    for group, part in parts.items():
        y, p, expected = part.y.to_numpy(), part.p_a.to_numpy(), R["n5000"][f"subgroup_{group}"]
        yield from auroc_references(f"n5000/group {group}", y, p, expected["auc"])
        yield from regression_references(f"n5000/group {group}", y, p, expected["calibration"])
        yield from score_references(f"n5000/group {group}", y, p, expected["calibration"])
    both = [
        cache(lambda part=part: discrimination.auroc_intervals(part.y.to_numpy(), part.p_a.to_numpy()))
        for part in parts.values()
    ]
    yield from fairlearn_references(parts)
    want = R["n5000"]["subgroup_unpaired_delong"]
    yield Reference("n5000/groups z", lambda: discrimination.auroc_contrast(both[0](), both[1]()).z, want["D"], CLOSE)


def fairlearn_references(parts: dict[str, pd.DataFrame]) -> Iterator[Reference]:
    expected = PY["n5000"]["groups"]
    measures = {
        ("fairlearn_by_group", "auc"): discrimination.auroc,
        ("fairlearn_by_group", "brier"): calibration.brier,
        ("fairlearn_threshold_0_5", "tpr"): lambda y, p: decisions.sensitivity(y, p >= 0.5),
        ("fairlearn_threshold_0_5", "ppv"): lambda y, p: decisions.ppv(y, p >= 0.5),
    }
    for (table_name, key), measure in measures.items():
        for group, part in parts.items():
            y, p = part.y.to_numpy(), part.p_a.to_numpy()
            yield Reference(
                f"n5000/fairlearn {key} {group}",
                lambda measure=measure, y=y, p=p: measure(y, p).value,
                expected[table_name][key][group],
                EXACT,
            )


def clustered_references() -> Iterator[Reference]:
    y, a, b = truth("clustered"), arrays("clustered", "p_a"), arrays("clustered", "p_b")
    patients, expected = arrays("clustered", "patient"), R["clustered"]
    yield from auroc_references("clustered/naive", y, a, expected["auc_a_naive"])
    yield from paired_references("clustered/naive pair", y, a, b, expected["paired_naive"])
    yield from regression_references("clustered/naive", y, a, expected["calibration_naive"])
    intervals = cache(lambda: discrimination.auroc_intervals(y, a, patients))
    single, pair = expected["obuchowski_a_doAUCcluster"], expected["obuchowski_pair_doAUCcluster"]
    yield Reference("clustered/obuchowski", lambda: intervals().variance, single["auc.var"], EXACT)
    yield Reference("clustered/wald", lambda: intervals().wald, (single["ci.bot"], single["ci.top"]), EXACT)
    t_limits = expected["obuchowski_logit_t"]["ci95_a"]
    yield Reference("clustered/logit t", lambda: limits(intervals().estimate), t_limits, EXACT)
    yield from clustered_pair_references(y, (a, b), patients, pair)
    in_class = expected["obuchowski_logit_t"]
    yield Reference(
        "clustered/patients per class",
        lambda: patients_per_class(y, make_units(patients, y.size)),
        (in_class["I10"], in_class["I01"]),
        0,
    )
    naive = cache(lambda: calibration.brier(y, a))
    se_naive = expected["brier"]["se_naive"]
    yield Reference("clustered/brier naive se", lambda: half_width(naive()) / rarer_quantile(y), se_naive, EXACT)
    precision = PY["clustered"]["average_precision_step_sklearn"]
    yield Reference("clustered/AP", lambda: discrimination.average_precision(y, a), precision, EXACT)
    yield from error_references("clustered", y, a, PY["clustered"]["ece"])
    yield from sandwich_references(y, a, patients, expected)
    yield from effective_n_references(y, a, patients, expected["wilson_neff_t_base_R"])
    yield from bootstrap_references(y, (a, b), patients, expected["cluster_bootstrap_R"])
    yield from patient_level_references(expected["patient_level"])


def clustered_pair_references(
    y: np.ndarray, models: tuple[np.ndarray, np.ndarray], patients: np.ndarray, pair: dict[str, Any]
) -> Iterator[Reference]:
    a, b = models
    difference = cache(lambda: discrimination.auroc_difference(y, a, b, patients))
    yield Reference("clustered/pair", lambda: difference().estimate.value, pair["auc.AminusB"], EXACT)
    yield Reference("clustered/pair se", lambda: difference().se, pair["auc.se.AminusB"], EXACT)
    yield Reference("clustered/pair p", lambda: difference().p_value, pair["p.value"], EXACT)
    yield Reference(
        "clustered/pair wald",
        lambda: limits(difference().estimate),
        (pair["ci.bot.AminusB"], pair["ci.top.AminusB"]),
        EXACT,
    )
    second = cache(lambda: discrimination.auroc_intervals(y, b, patients))
    yield Reference("clustered/second", lambda: second().estimate.value, pair["auc.B"], EXACT)
    yield Reference("clustered/second variance", lambda: second().variance, pair["auc.var.B"], EXACT)
    yield Reference("clustered/second wald", lambda: second().wald, (pair["ci.bot.B"], pair["ci.top.B"]), EXACT)


def sandwich_references(y: np.ndarray, a: np.ndarray, patients: np.ndarray, expected: Any) -> Iterator[Reference]:
    rarer = rarer_quantile(y, patients)
    quantiles = {"slope": rarer, "citl": t_quantile(expected["n_patients"] - 1)}
    for name, quantile in quantiles.items():
        estimate = cache(lambda name=name: getattr(calibration, name)(y, logit(a), patients))
        se = expected[name]["se_svyglm"]
        yield Reference(f"clustered/{name}", lambda e=estimate: e().value, expected[name]["est"], CLOSE)
        yield Reference(f"clustered/{name} se", lambda e=estimate, q=quantile: half_width(e()) / q, se, FITTED)
    score = expected["brier"]
    brier = cache(lambda: calibration.brier(y, a, patients))
    yield Reference("clustered/brier", lambda: brier().value, score["est"], EXACT)
    yield Reference("clustered/brier se", lambda: half_width(brier()) / rarer, score["se_cluster_svymean"], EXACT)


def effective_n_references(y: np.ndarray, a: np.ndarray, patients: np.ndarray, expected: Any) -> Iterator[Reference]:
    for name in ("sensitivity", "specificity", "ppv"):
        want = expected[f"{name}_at_0.5"]
        estimate = cache(lambda name=name: getattr(decisions, name)(y, a >= 0.5, patients))
        yield Reference(f"clustered/{name}", lambda e=estimate: e().value, want["est"], EXACT)
        yield Reference(f"clustered/{name} Wilson", lambda e=estimate: limits(e()), want["ci95_wilson_neff_t"], EXACT)
        yield Reference(f"clustered/{name} patients", lambda e=estimate: e().n_patients, want["patients"], 0)
        yield Reference(f"clustered/{name} images", lambda e=estimate: e().n, want["images"], 0)
        yield Reference(
            f"clustered/{name} n_eff",
            lambda e=estimate: float(e().method.split("effective n ")[1].split(",")[0]),
            want["n_eff"],
            0.05,  # as rounded in the method's name
        )


def bootstrap_references(
    y: np.ndarray, models: tuple[np.ndarray, np.ndarray], patients: np.ndarray, expected: Any
) -> Iterator[Reference]:
    rankings = [discrimination.ranking.make_ranking(y, p) for p in models]

    @cache
    def draws() -> np.ndarray:
        def both(weights: np.ndarray) -> np.ndarray:
            return np.array([discrimination.ranking.ranking_measures(r, weights[r.order])[0] for r in rankings])

        areas = bootstrap(both, make_units(patients, y.size), replicates=2000, seed=0)
        terms = np.column_stack([(models[0] - y) ** 2, np.ones(y.size)])
        totals = bootstrap_totals(terms, make_units(patients, y.size), replicates=2000, seed=0)
        return np.column_stack([areas[:, 0], areas[:, 0] - areas[:, 1], totals[:, 0] / totals[:, 1]])

    for column, name in enumerate(("auc_a", "diff", "brier")):
        yield Reference(
            f"clustered/bootstrap se {name}", lambda c=column: draws()[:, c].std(), expected[f"se_{name}"], 0, 0.05
        )
        yield Reference(
            f"clustered/bootstrap limits {name}",
            lambda c=column: np.percentile(draws()[:, c], [2.5, 97.5]),
            expected[f"ci95_percentile_{name}"],
            BOOTSTRAP_LIMIT,
        )


def patient_level_references(expected: dict[str, Any]) -> Iterator[Reference]:
    patients = table("clustered").groupby("patient")
    y = patients.y.max().to_numpy()
    for rule in ("mean", "max"):
        p = getattr(patients.p_a, rule)().to_numpy()
        yield from auroc_references(f"clustered/patient {rule}", y, p, expected[f"score_{rule}"])


# ---------------------------------------------------------------- several classes or labels


def multiclass(split: str) -> tuple[np.ndarray, np.ndarray]:
    frame = table("multiclass")
    part = frame[frame.split == split]
    return part.y.to_numpy(), part.filter(like="logit_").to_numpy()


def multiclass_references() -> Iterator[Reference]:
    y, logits = multiclass("test")
    p, members = softmax(logits, axis=1), np.eye(4, dtype=np.int64)[y]
    expected, other = R["multiclass"], PY["multiclass"]
    for source in (expected["hand_till_pROC"], other["auc"]["ovo_macro_hand_till"]):
        yield Reference(
            f"multiclass/hand-till {source}", lambda: discrimination.hand_till_auroc(y, p).value, source, EXACT
        )
    for number, want in enumerate(expected["ovr"]):
        rest = cache(lambda k=number: discrimination.auroc_intervals(members[:, k], p[:, k]))
        yield Reference(f"multiclass/ovr {number}", lambda e=rest: e().estimate.value, want["auc_pROC"], EXACT)
        yield Reference(
            f"multiclass/ovr {number} variance", lambda e=rest: e().variance, want["var_delong_pROC"], EXACT
        )
        yield Reference(f"multiclass/ovr {number} wald", lambda e=rest: e().wald, want["ci95_delong_pROC"], EXACT)
    yield Reference(
        "multiclass/macro", lambda: discrimination.macro_auroc(members, p).value, other["auc"]["ovr_macro"], EXACT
    )
    yield Reference(
        "multiclass/micro", lambda: discrimination.micro_auroc(members, p).value, other["auc"]["ovr_micro"], EXACT
    )
    proper = other["proper"]
    brier = proper["brier_sum_over_classes"]
    yield Reference("multiclass/brier", lambda: calibration.multiclass_brier(y, p).value, brier, EXACT)
    yield Reference(
        "multiclass/log loss", lambda: calibration.multiclass_log_loss(y, logits).value, proper["log_loss"], EXACT
    )
    yield Reference(
        "multiclass/smece top label",
        lambda: calibration.smece((p.argmax(axis=1) == y).astype(int), p.max(axis=1), draws=1).estimate.value,
        other["calibration"]["relplot_smECE_top_label"],
        SMECE_TOLERANCE,
    )
    yield from top_label_references(y, logits, other)
    yield from argmax_references(y, p.argmax(axis=1), other["argmax"])
    yield from multiclass_calibrator_references(y, logits, other)
    yield from conformal_references(y, logits, other)


def top_label_references(y: np.ndarray, logits: np.ndarray, expected: Any) -> Iterator[Reference]:
    temperature = expected["temperature"]
    for stage, scale in (("before", 1.0), ("after", 1 / temperature["T_torch_lbfgs"])):

        @cache
        def binned(scale: float = scale) -> float:
            p = softmax(logits * scale, axis=1)
            right = (p.argmax(axis=1) == y).astype(int)
            return calibration.ece(right, p.max(axis=1), bins="width", draws=1).estimate.value

        want = temperature[stage]["test_top_label_ece_15"]
        yield Reference(f"multiclass/top label ece {stage}", binned, want, TEMPERATURE_TOLERANCE)


def argmax_references(y: np.ndarray, decided: np.ndarray, expected: dict[str, Any]) -> Iterator[Reference]:
    yield Reference("multiclass/accuracy", lambda: decisions.accuracy(y, decided).value, expected["accuracy"], EXACT)
    balanced = expected["balanced_accuracy"]
    yield Reference("multiclass/balanced", lambda: decisions.balanced_accuracy(y, decided).value, balanced, EXACT)
    kappa = expected["kappa_quadratic"]
    yield Reference(
        "multiclass/kappa",
        lambda: decisions.kappa_quadratic(y, decided, n_classes=4, replicates=100).value,
        kappa,
        EXACT,
    )


def multiclass_calibrator_references(y: np.ndarray, logits: np.ndarray, expected: Any) -> Iterator[Reference]:
    temperature, bias_corrected = expected["temperature"], expected["bias_corrected_temperature_lbfgs"]
    for method, key, want in (
        ("temperature", "T_torch_lbfgs", temperature),
        ("temperature", "T_sklearn", temperature),
        ("temperature", "T_netcal", temperature),
        ("bias-corrected-temperature", "T", bias_corrected),
    ):
        fitted = cache(lambda method=method: _fit(*multiclass("cal"), method))
        tolerance = NETCAL_TOLERANCE if key == "T_netcal" else TEMPERATURE_TOLERANCE
        label = f"multiclass/{method} {key}"
        yield Reference(label, lambda f=fitted: 1 / only_map(f()).scale[0], want[key], tolerance)
    for method, want, before in (
        ("temperature", temperature, temperature["cal_nll_lbfgs"]),
        ("bias-corrected-temperature", bias_corrected, bias_corrected["cal_nll"]),
        ("vector", expected["vector_scaling_lbfgs"], expected["vector_scaling_lbfgs"]["cal_nll"]),
    ):
        fitted = cache(lambda method=method: _fit(*multiclass("cal"), method))
        label, after = f"multiclass/{method}", want["after"]
        yield Reference(f"{label} cal log loss", lambda f=fitted: _log_loss(f(), *multiclass("cal")), before, FITTED)
        loss = after["test_log_loss"]
        yield Reference(f"{label} log loss", lambda f=fitted: _log_loss(f(), y, logits), loss, FITTED)
        if "bias_centered" in want:
            bias = want["bias_centered"]
            yield Reference(f"{label} bias", lambda f=fitted: only_map(f()).bias, bias, TEMPERATURE_TOLERANCE)
    weights = expected["vector_scaling_lbfgs"]["w"]
    vector = cache(lambda: only_map(_fit(*multiclass("cal"), "vector")))
    yield Reference("multiclass/vector scale", lambda: vector().scale, weights, TEMPERATURE_TOLERANCE)


def only_map(calibrator: calibrators.Calibrator) -> Any:
    """The one map of a calibrator that was just fitted."""
    (only,) = calibrator.maps
    return only


def _log_loss(calibrator: calibrators.Calibrator, y: np.ndarray, logits: np.ndarray) -> float:
    calibrated = calibrators.calibrate(calibrator, logits)
    return calibration.multiclass_log_loss(y, calibrated).value


def conformal_references(y: np.ndarray, logits: np.ndarray, expected: Any) -> Iterator[Reference]:
    temperature = expected["temperature"]["T_sklearn"]
    for by_class, key in ((False, "lac_by_definition"), (True, "class_conditional_by_definition")):
        want = expected["conformal"][key]

        @cache
        def rule(*, by_class: bool = by_class) -> Any:
            cal_y, cal_logits = multiclass("cal")
            return decisions.fit_sets(cal_y, softmax(cal_logits / temperature, axis=1), by_class=by_class)

        @cache
        def sets(rule: Any = rule) -> np.ndarray:
            return decisions.prediction_sets(rule(), softmax(logits / temperature, axis=1))

        crepes = expected["conformal"][key.replace("by_definition", "crepes")]
        yield Reference(f"multiclass/{key} crepes", lambda s=sets: s().sum(axis=1).mean(), crepes["mean_size"], EXACT)
        qhat = want["qhat"] if by_class else [want["qhat"]] * 4
        yield Reference(f"multiclass/{key} limits", lambda rule=rule: rule().limits, qhat, EXACT)
        yield Reference(f"multiclass/{key} size", lambda sets=sets: sets().sum(axis=1).mean(), want["mean_size"], EXACT)
        yield Reference(
            f"multiclass/{key} coverage", lambda sets=sets: decisions.coverage(y, sets()).value, want["coverage"], EXACT
        )
        yield Reference(
            f"multiclass/{key} by class",
            lambda sets=sets: [decisions.coverage(y, sets(), class_number=k).value for k in range(4)],
            want["coverage_by_class"],
            EXACT,
        )


def multilabel_references() -> Iterator[Reference]:
    frame = table("multilabel")
    patients = frame.patient.to_numpy()
    policies: dict[str, dict[float, float]] = {"ignore": {}, "zeros": {-1.0: 0.0}, "ones": {-1.0: 1.0}}
    for policy, replaced in policies.items():
        expected = R["multilabel"][policy]
        labels = [label for label in expected if label != "macro_auc"]
        y = frame[[f"y_{label}" for label in labels]].replace(replaced).fillna(-1).to_numpy().astype(int)
        p = frame[[f"p_{label}" for label in labels]].to_numpy()
        for number, label in enumerate(labels):
            known, want = y[:, number] >= 0, expected[label]
            name = f"multilabel/{policy} {label}"
            rows = (y[known, number], p[known, number])
            naive = cache(lambda rows=rows: discrimination.auroc_intervals(*rows))
            clustered = cache(lambda rows=rows, who=patients[known]: discrimination.auroc_intervals(*rows, who))
            yield Reference(name, lambda e=naive: e().estimate.value, want["auc_pROC"], EXACT)
            yield Reference(f"{name} DeLong", lambda e=naive: math.sqrt(e().variance), want["se_delong_pROC"], EXACT)
            yield Reference(
                f"{name} Obuchowski", lambda e=clustered: math.sqrt(e().variance), want["se_obuchowski"], EXACT
            )
            yield Reference(f"{name} wald", lambda e=naive: e().wald, want["ci95_delong_pROC"], EXACT)
        yield Reference(
            f"multilabel/{policy} macro",
            lambda y=y, p=p: discrimination.macro_auroc(y, p, patients).value,
            expected["macro_auc"],
            EXACT,
        )


# ---------------------------------------------------------------- calibrators and prior shift of two classes


def _fit(y: np.ndarray, logits: np.ndarray, method: str) -> calibrators.Calibrator:
    return calibrators.fit_calibrator(logits, y, method=method, prior_shift=np.zeros(logits.shape[1]))


def binary(split: str) -> tuple[np.ndarray, np.ndarray]:
    frame = table("n5000")
    part = frame[frame.split == split]
    return part.y.to_numpy(), part[["logit_a"]].to_numpy()


def _from_probability(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Truths and logits of the probabilities as they stand in the table, from which the curves were fitted."""
    frame = table("n5000")
    part = frame[frame.split == split]
    return part.y.to_numpy(), logit(part[["p_a"]].to_numpy())


def binary_calibrator_references() -> Iterator[Reference]:
    expected = PY["n5000"]["calibrators"]
    for key, method, tolerance in (
        ("none", "none", FITTED),
        ("platt_glm_plain_targets", "platt", FITTED),
        ("platt_sklearn_smoothed_targets", "smoothed", SKLEARN_TOLERANCE),
        ("beta_am_betacal", "platt", BETACAL_TOLERANCE),  # beta with a = b is Platt
        ("temperature_torch_lbfgs", "temperature", FITTED),
        ("temperature_sklearn", "temperature", FITTED),
        ("temperature_netcal", "temperature", NETCAL_TOLERANCE),
        ("intercept_only_glm", "intercept", FITTED),
        ("beta_abm_glm", "beta", FITTED),
        ("beta_abm_betacal", "beta", BETACAL_TOLERANCE),
    ):
        rows = _from_probability if method == "beta" else binary
        fitted = cache(lambda m=method, rows=rows: _fit_smoothed() if m == "smoothed" else _fit(*rows("cal"), m))
        yield from calibrated_references(f"n5000/{key}", fitted, rows("test"), expected[key], tolerance)
    for key in ("temperature_torch_lbfgs", "temperature_sklearn", "temperature_statsmodels_glm_no_intercept"):
        temperature = cache(lambda: 1 / only_map(_fit(*binary("cal"), "temperature")).scale[0])
        yield Reference(f"n5000/{key}", temperature, expected[key]["T"], TEMPERATURE_TOLERANCE)
    yield Reference("n5000/temperature_netcal", temperature, expected["temperature_netcal"]["T"], NETCAL_TOLERANCE)
    yield from parameter_references(expected)
    yield from isotonic_references(expected["isotonic_sklearn"])
    yield from venn_abers_references(expected["venn_abers_cal400"])


def _fit_smoothed() -> calibrators.Calibrator:
    y, logits = binary("cal")
    return _with(fit_platt(logits, y, smoothed=True))


def _with(fitted: Any) -> calibrators.Calibrator:
    return calibrators.identity_calibrator(1, "").model_copy(update={"maps": (fitted,)})


def calibrated_references(
    label: str, fitted: Any, rows: tuple[np.ndarray, np.ndarray], want: dict[str, Any], tolerance: float
) -> Iterator[Reference]:
    y, logits = rows
    p = cache(lambda: calibrators.probabilities(calibrators.calibrate(fitted(), logits))[:, 1])
    yield Reference(f"{label} first 5", lambda: p()[:5], want["first5"], tolerance)
    yield Reference(f"{label} brier", lambda: calibration.brier(y, p()).value, want["brier"], tolerance)
    loss = cache(lambda: calibration.log_loss(y, calibrators.calibrate(fitted(), logits)[:, 0]).value)
    yield Reference(f"{label} log loss", loss, want["log_loss"], tolerance)
    yield Reference(f"{label} auroc", lambda: discrimination.auroc(y, p()).value, want["auc"], min(tolerance, FITTED))


def parameter_references(expected: dict[str, Any]) -> Iterator[Reference]:
    platt, smoothed = expected["platt_glm_plain_targets"], expected["platt_sklearn_smoothed_targets"]
    line = cache(lambda: only_map(_fit(*binary("cal"), "platt")))
    yield Reference("n5000/platt a", lambda: line().scale, [platt["a"]], CLOSE)
    yield Reference("n5000/platt b", lambda: line().bias, [platt["b"]], CLOSE)
    drawn = cache(lambda: only_map(_fit_smoothed()))
    yield Reference("n5000/platt smoothed a", lambda: drawn().scale, [smoothed["a"]], SKLEARN_TOLERANCE)
    yield Reference("n5000/platt smoothed b", lambda: drawn().bias, [smoothed["b"]], SKLEARN_TOLERANCE)
    constant = expected["intercept_only_glm"]["b"]
    yield Reference("n5000/intercept b", lambda: only_map(_fit(*binary("cal"), "intercept")).bias, [constant], CLOSE)
    beta = cache(lambda: only_map(_fit(*_from_probability("cal"), "beta")))
    for name in "abc":
        yield Reference(f"n5000/beta {name}", lambda n=name: getattr(beta(), n), expected["beta_abm_glm"][name], CLOSE)
    slopes = expected["beta_abm_betacal"]["map"][:2]
    yield Reference("n5000/betacal", lambda: [beta().a, beta().b], slopes, BETACAL_TOLERANCE)


def isotonic_references(want: dict[str, Any]) -> Iterator[Reference]:
    y, logits = _from_probability("test")

    @cache
    def p() -> np.ndarray:
        cal_y, cal_logits = _from_probability("cal")
        unclipped = fit_isotonic(cal_logits, cal_y).model_copy(update={"clip": 0.0})
        with np.errstate(divide="ignore"):
            return calibrators.probabilities(calibrators.calibrate(_with(unclipped), logits))[:, 1]

    yield Reference("n5000/isotonic first 5", lambda: p()[:5], want["first5"], EXACT)
    yield Reference("n5000/isotonic brier", lambda: calibration.brier(y, p()).value, want["brier"], EXACT)
    yield Reference("n5000/isotonic auroc", lambda: discrimination.auroc(y, p()).value, want["auc"], EXACT)
    yield Reference("n5000/isotonic 0 or 1", lambda: ((p() == 0) | (p() == 1)).sum(), want["n_test_at_0_or_1"], 0)


def venn_abers_references(want: dict[str, Any]) -> Iterator[Reference]:
    y, logits = (each[:400] for each in _from_probability("cal"))
    _, test_logits = _from_probability("test")
    fitted = cache(lambda: _fit(y, logits, "venn-abers"))
    pair = cache(lambda: calibrators.probability_interval(fitted(), test_logits))
    p = cache(lambda: calibrators.probabilities(calibrators.calibrate(fitted(), test_logits))[:, 1])
    yield Reference("n5000/venn-abers p", lambda: p()[:5], want["p_first5"], EXACT)
    for column, name in enumerate(("p0", "p1")):
        for n, key in ((5, f"{name}_first5"), (25, f"{name}_first25_bruteforce_isotonic")):
            low_high = cache(lambda c=column, n=n: pair()[:n, c])
            yield Reference(f"n5000/venn-abers {key}", low_high, want[key], EXACT)


def prior_shift_references() -> Iterator[Reference]:
    expected = PY["n5000"]["prior_shift"]
    setup = expected["setup"]
    y, logits = binary("test")
    rows = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[::6]])
    cal_y, cal_logits = binary("cal")
    shifted_y = y[rows]
    target_logits, source_logits = (setup["b"] + setup["a"] * each for each in (logits[rows], cal_logits))
    p, source_p = (calibrators.probabilities(each) for each in (target_logits, source_logits))
    source = np.array([1 - cal_y.mean(), cal_y.mean()])
    em = cache(lambda: calibration.prevalence_by_em(p, source))
    for key in ("em_saerens_mle_scipy", "em_abstention_prevalence", "em_quapy_prevalence"):
        yield Reference(f"n5000/{key}", lambda: em()[1], expected[key], CLOSE)
    for key, hard in (
        ("bbse_soft_abstention_prevalence", False),
        ("bbse_hard_abstention_prevalence", True),
        ("rogan_gladen_hard_prevalence", True),
    ):
        yield Reference(
            f"n5000/{key}",
            lambda hard=hard: calibration.prevalence_by_confusion(p, source_p, cal_y, hard=hard)[1],
            expected[key],
            CLOSE,
        )
    after = expected["after_em"]
    moved = cache(lambda: calibration.shift_logits(target_logits, source, em())[:, 0])
    yield Reference("n5000/em mean p", lambda: expit(moved()).mean(), after["mean_p"], FITTED)
    yield Reference(
        "n5000/em brier", lambda: calibration.brier(shifted_y, expit(moved())).value, after["brier"], FITTED
    )
    yield Reference(
        "n5000/em log loss", lambda: calibration.log_loss(shifted_y, moved()).value, after["log_loss"], FITTED
    )
    yield Reference(
        "n5000/em O:E", lambda: calibration.observed_expected(shifted_y, expit(moved())).value, after["oe"], FITTED
    )


# ---------------------------------------------------------------- all of them


def all_references() -> Iterator[Reference]:
    for name in SINGLE_FILES:
        y, a, b = truth(name), arrays(name, "p_a"), arrays(name, "p_b")
        for model, p in (("a", a), ("b", b)):
            yield from auroc_references(f"{name}/{model}", y, p, R[name][f"auc_{model}"])
            yield from ranking_references(name, model)
            yield from calibration_references(name, model)
        yield from paired_references(f"{name}/pair", y, a, b, R[name]["paired"])
        yield from threshold_references(name)
        yield from net_benefit_references(name)
        yield from mcnemar_references(name)
    yield from subgroup_references()
    yield from clustered_references()
    yield from multiclass_references()
    yield from multilabel_references()
    yield from binary_calibrator_references()
    yield from prior_shift_references()


REFERENCES = list(all_references())


@pytest.fixture(scope="module")
def met() -> list[str]:
    """Collect the reference values that are met."""
    return []


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_reference_number_is_met(reference: Reference, met: list[str]) -> None:
    actual = np.asarray(reference.actual(), dtype=np.float64)
    np.testing.assert_allclose(
        actual, np.asarray(reference.expected, dtype=np.float64), rtol=reference.relative, atol=reference.tolerance
    )
    met.append(reference.name)


def test_every_reference_number_is_met(
    met: list[str], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    n_collected = sum("test_reference_number_is_met[" in item.nodeid for item in request.session.items)
    with capsys.disabled():
        sys.stdout.write(f"\n{len(met)} of {n_collected} reference values met\n")
    assert len(met) == n_collected


def test_reference_names_are_distinct() -> None:
    names = [reference.name for reference in REFERENCES]
    assert len(set(names)) == len(names)
