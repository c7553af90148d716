"""Reports with everything in them: two classes, three, and several labels."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from effmed.evaluate import decisions
from effmed.evaluate.predictions import read_predictions
from effmed.evaluate.render.parts.errors import named_images
from effmed.evaluate.report import FlowStep, make_report
from effmed.recipe import ColumnSettings, ReportSettings
from tests.evaluate import make

VECTORS = Path(__file__).parent.parent / "vectors"
FEW_DRAWS = ReportSettings(bootstrap_replicates=100)
BEFORE = (
    FlowStep("in the data", 1000, 480),
    FlowStep("left out: unreadable", 4, None),
    FlowStep("unreadable: not a picture", 4, None),
    FlowStep("used for training", 300, 150),
    FlowStep("used for the test", 400, 200),
)
LONG = "consolidation of the right middle lobe with air bronchogram"


def settings(**changes):
    return FEW_DRAWS.model_copy(update=changes)


def attributes(n):
    """Sites, one of them too small to be shown, ages, sex."""
    number = np.arange(n) // 2
    return {
        "site": np.array(["north", "south", "tiny"])[np.where(number < 4, 2, number % 2)],
        "age": 20 + number % 70,
        "sex": np.where(number % 3 == 0, "F", "M"),
    }


def two(n=400, **changes):
    """Two classes with sets, referral, subgroups, an estimated and a stated prevalence."""
    val = make.binary(n=300, seed=1)
    chosen = decisions.choose_decisions(
        val.probability, val.truth, val.patients, make.decision(), classes=val.classes, chosen_on="val"
    )
    context = make.context(
        operating_points=chosen.points, sets=chosen.sets, referral=chosen.referral, flow=BEFORE, val=val
    )
    test = make.binary(n=n, seed=2, failures={4: ("broken (a file)", "mend it")}, **attributes(n))
    return make_report(test, context, settings(prevalence=(0.05,), prevalence_estimate="em", **changes))


def three(n=300, classes=("grade 0", "grade 1", "grade 2"), **changes):
    """Three grades, sets, referral and subgroups."""
    val = make.several(n=240, seed=1, classes=classes)
    chosen = decisions.choose_decisions(
        val.probability, val.truth, val.patients, make.decision(), classes=classes, chosen_on="val"
    )
    context = make.context(
        3, sets=chosen.sets, referral=chosen.referral, val=val, level="study", level_rule="mean of logits"
    )
    shares = (0.5, 0.3, 0.2)
    test = make.several(n=n, seed=2, classes=classes, **attributes(n))
    return make_report(test, context, settings(prevalence=shares, prevalence_estimate="em", **changes))


def labels(folder, rename=None, **changes):
    """Four labels with unknown ones among them, an operating point each, subgroups."""
    table = pd.read_csv(VECTORS / "multilabel.csv")
    number = pd.factorize(table["patient"])[0]
    table["sex"] = np.where(number % 2 == 0, "F", "M")
    table["site"] = np.array(["north", "south"])[number // 2 % 2]
    if rename:
        old, new = rename
        table = table.rename(columns={f"y_{old}": f"y_{new}", f"p_{old}": f"p_{new}"})
    path = folder / "labels.csv"
    table.to_csv(path, index=False)
    predictions = read_predictions(path, ColumnSettings(), ())
    points = tuple(make.point(name, 0.4) for name in predictions.classes)
    context = make.context(len(predictions.classes), calibrator=make.identity(4), operating_points=points)
    return make_report(predictions, context, settings(**changes))


def thumbnails(report, side=160):
    """A picture of noise for every image among the worst errors: noise is what PNG makes largest."""
    chance = np.random.default_rng(0)
    found = {}
    for name in named_images(report):
        noise = chance.integers(0, 256, (side, side), dtype=np.uint8)
        found[name] = cv2.imencode(".png", noise)[1].tobytes()
    return found
