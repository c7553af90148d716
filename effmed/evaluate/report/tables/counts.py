"""How many images: the flow into the evaluation, classes, decisions, policies for labels that are not known."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from effmed.evaluate import discrimination
from effmed.evaluate.predictions import apply_policy
from effmed.evaluate.predictions.labels import BLANK, UNCERTAIN, Uncertain
from effmed.evaluate.report.evidence import known_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from effmed.evaluate.predictions import Predictions
    from effmed.evaluate.report.evidence import Evidence
    from effmed.evaluate.report.model import FlowStep

N_REASONS = 10  # that are listed one by one, the most frequent first
MAX_REASON_LENGTH = 120


def count_frames(predictions: Predictions, evidence: Evidence, before: tuple[FlowStep, ...]) -> dict[str, pd.DataFrame]:
    """Return every table of counts by its name; ``before`` is what happened before the table was made."""
    frames = {"flow": _flow(predictions, evidence, before), "classes": _classes(evidence)}
    if evidence.is_multilabel:
        frames["policies"] = _policies(evidence)
    if evidence.called is not None:
        frames["two_by_two"] = _two_by_two(evidence)
        if not evidence.is_multilabel:
            frames["confusion"] = _confusion(evidence, evidence.called)
    return frames


def _flow(predictions: Predictions, evidence: Evidence, before: tuple[FlowStep, ...]) -> pd.DataFrame:
    status = predictions.frame["status"].to_numpy(object)
    unlabelled = (status == "ok") & ~known_rows(predictions, evidence.settings)
    steps = {
        "in the table": np.ones(len(status), dtype=bool),
        "left out: unreadable": status == "unreadable",
        **_reasons(predictions, status == "unreadable"),
        "left out: refused": ~np.isin(status, ("ok", "unreadable")),
        "left out: truth not known": unlabelled,
        "evaluated": (status == "ok") & ~unlabelled,
    }
    rows = [(step.name, step.n_images, step.n_patients) for step in before]
    rows += [(name, int(mask.sum()), _n_patients(predictions, mask)) for name, mask in steps.items()]
    return pd.DataFrame(rows, columns=["step", "images", "patients"])


def _reasons(predictions: Predictions, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Return which images were left out for each reason, the most frequent first; a reason is cut at its remedy."""
    rows = np.flatnonzero(mask)
    texts = np.array([str(text).split(" (", 1)[0] for text in predictions.frame["reason"].iloc[rows]], dtype=object)
    found = {}
    for reason, _ in Counter(text for text in texts if text).most_common(N_REASONS):
        chosen = np.zeros(mask.size, dtype=bool)
        chosen[rows[texts == reason]] = True
        found[f"unreadable: {reason[:MAX_REASON_LENGTH]}"] = chosen
    return found


def _n_patients(predictions: Predictions, mask: NDArray[np.bool_]) -> int | None:
    return None if predictions.patients is None else int(predictions.frame.loc[mask, "patient"].nunique())


def _classes(evidence: Evidence) -> pd.DataFrame:
    """Count images and patients per class; of several labels those present, and those left out."""
    rows = []
    for number, name in enumerate(evidence.classes):
        truth = evidence.happened[:, number]
        present, known = truth == 1, int((truth >= 0).sum())
        patients = None if evidence.patients is None else len(set(evidence.patients[present]))
        row: dict[str, Any] = {"class": name, "images": int(present.sum()), "patients": patients}
        row["fraction"] = int(present.sum()) / known if known else None
        if evidence.is_multilabel:
            labels = evidence.predictions.labels[:, number]
            row |= {
                "known": known,
                "uncertain": int((labels == UNCERTAIN).sum()),
                "blank": int((labels == BLANK).sum()),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _policies(evidence: Evidence) -> pd.DataFrame:
    """Show the AUROC of each label as uncertain labels are left out, absent or present."""
    labels, rows = evidence.predictions.labels, []
    for policy in get_args(Uncertain):
        truths = apply_policy(labels, uncertain=policy, blank=evidence.settings.blank)
        for number, name in enumerate(evidence.classes):
            known = truths[:, number] >= 0
            ranking = evidence.label_ranking[known, number]
            patients = None if evidence.patients is None else evidence.patients[known]
            auroc = discrimination.auroc(truths[known, number], ranking, patients)
            declared = "declared" if policy == evidence.settings.uncertain else "for comparison"
            rows.append((name, policy, declared, auroc.n, auroc.n_events, auroc.value, auroc.low, auroc.high))
    columns = ["class", "uncertain", "policy", "images", "events", "auroc", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _two_by_two(evidence: Evidence) -> pd.DataFrame:
    """Count true and false, positive and negative decisions of each class against the rest."""
    rows = []
    for number in evidence.judged:
        one = evidence.against_rest(number, "calibrated")
        if one.called is not None:
            present, called = one.truth == 1, one.called
            cells = (present & called, ~present & called, present & ~called, ~present & ~called)
            rows.append((one.name, *(int(cell.sum()) for cell in cells)))
    return pd.DataFrame(rows, columns=["class", "true_positive", "false_positive", "false_negative", "true_negative"])


def _confusion(evidence: Evidence, called: NDArray[np.int64]) -> pd.DataFrame:
    """Count images by truth (rows) and decision (columns)."""
    k = len(evidence.classes)
    counts = np.bincount(evidence.truth * k + called, minlength=k * k).reshape(k, k)
    frame = pd.DataFrame(counts, columns=[f"decided {name}" for name in evidence.classes])
    frame.insert(0, "truth", evidence.classes)
    return frame
