"""What the metrics are called and what they mean, for people who do not compute them every day."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A metric in words.

    Attributes:
        label: Its name in a table.
        meaning: What it says, with the value that is best.
    """

    label: str
    meaning: str


WORDS = {
    "auroc": Word("AUROC", "chance that an image of the class ranks above another; 0.5 is chance, 1 best"),
    "macro_auroc": Word("AUROC, macro average", "mean of the classes' AUROC"),
    "micro_auroc": Word("AUROC, micro average", "all pairs of image and class pooled"),
    "hand_till_auroc": Word("AUROC, Hand and Till", "mean over pairs of classes; does not depend on prevalence"),
    "average_precision": Word("average precision (AP)", "area under the precision-recall curve; prevalence is chance"),
    "partial_auroc": Word("partial AUROC", "up to a false positive rate of 0.1, standardised; 0.5 is chance"),
    "brier": Word("Brier score", "mean squared distance of probability and truth; 0 is best"),
    "scaled_brier": Word("scaled Brier score", "1 is best; 0 is like giving everyone the prevalence"),
    "log_loss": Word("log loss", "mean negative log likelihood, in nats; 0 is best"),
    "citl": Word("calibration in the large (CITL)", "what logits lack on average; 0 is best, above 0: risk too low"),
    "slope": Word("calibration slope", "1 is best; below 1: probabilities too extreme"),
    "observed_expected": Word("observed / expected", "1 is best; below 1: risk overestimated"),
    "smece": Word("smooth calibration error (smECE)", "distance of probability and observed share, smoothed"),
    "ece": Word("expected calibration error (ECE)", "the same in 15 groups of equal size"),
    "ici": Word("integrated calibration index (ICI)", "mean distance of the calibration curve from the diagonal"),
    "e90": Word("E90", "90th percentile of that distance"),
    "miscalibration": Word("miscalibration (CORP)", "part of the Brier score that recalibration would remove"),
    "discrimination_part": Word("discrimination (CORP)", "part of the Brier score that ranking saves; more is better"),
    "uncertainty": Word("uncertainty (CORP)", "Brier score of giving everyone the prevalence; not the network's doing"),
    "top_label_smece": Word("smECE of the class named", "whether the largest probability is the share of right calls"),
    "sensitivity": Word("sensitivity", "share of images of the class that are called so"),
    "specificity": Word("specificity", "share of other images that are not"),
    "ppv": Word("PPV", "share of calls that are right, at the prevalence of these images"),
    "npv": Word("NPV", "share of other calls that are right, at the prevalence of these images"),
    "ppv_at_prevalence": Word("PPV at the stated prevalence", "the same where the class is as frequent as was stated"),
    "npv_at_prevalence": Word("NPV at the stated prevalence", "the same where the class is as frequent as was stated"),
    "lr_positive": Word("LR+", "how much a call multiplies the odds of the class"),
    "lr_negative": Word("LR−", "how much the lack of a call multiplies them"),
    "accuracy": Word("accuracy", "share of images decided rightly"),
    "balanced_accuracy": Word("balanced accuracy", "the same, averaged over classes"),
    "kappa_quadratic": Word("kappa, quadratic weights", "agreement of grades beyond chance; 1 is best"),
    "net_benefit": Word("net benefit", "true positives less false positives at their cost, per image"),
    "mae": Word("mean absolute error", "of the grade; 0 is best"),
    "prevalence": Word("prevalence", "share of images that are of the class"),
    "set_coverage": Word("coverage", "share of images whose prediction set holds their class"),
    "set_size": Word("size of a set", "mean number of classes in it; 1 is a plain answer"),
    "decided_fraction": Word("share decided", "images certain enough not to be referred"),
    "decided_error_fraction": Word(
        "wrong among the decided", "share of decisions that are wrong when others are referred"
    ),
}
IMAGES = ("prevalence",)
DISCRIMINATION = ("auroc", "macro_auroc", "micro_auroc", "hand_till_auroc", "average_precision", "partial_auroc")
CALIBRATION = (
    *("citl", "slope", "observed_expected", "brier", "scaled_brier", "log_loss"),
    *("miscalibration", "discrimination_part", "uncertainty"),
    *("smece", "ece", "ici", "e90", "top_label_smece"),
)
DECISIONS = (
    *("sensitivity", "specificity", "ppv", "npv", "ppv_at_prevalence", "npv_at_prevalence"),
    *("lr_positive", "lr_negative", "accuracy", "balanced_accuracy", "kappa_quadratic", "mae", "net_benefit"),
)
SETS = ("set_coverage", "set_size")
REFERRAL = ("decided_fraction", "decided_error_fraction")
CHAPTERS = {
    "images": IMAGES,
    "discrimination": DISCRIMINATION,
    "calibration": CALIBRATION,
    "decisions": DECISIONS,
    "sets": SETS,
    "referral": REFERRAL,
}
MAIN = (  # of two classes those of the positive one, of more those over all
    *("auroc", "macro_auroc", "micro_auroc", "hand_till_auroc", "average_precision", "brier", "slope", "citl"),
    *("sensitivity", "specificity", "accuracy", "balanced_accuracy"),
)


def word(name: str) -> Word:
    """Return a metric's words; a name that nobody described stands for itself."""
    return WORDS.get(name, Word(name.replace("_", " "), ""))
