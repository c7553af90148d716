"""What a report answers of the reporting guidelines: one function per key of ``checklist.yaml``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effmed.evaluate.render.answers import images, network, results
from effmed.evaluate.render.answers.parts import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from effmed.evaluate.report import Report

__all__ = ["ANSWERS", "Answer"]

ANSWERS: Mapping[str, Callable[[Report], Answer | None]] = {
    function.__name__: function
    for function in (
        images.sizes,
        images.flow,
        images.missing,
        images.indeterminate,
        images.poor_input,
        images.partitions,
        images.disjoint,
        images.internal,
        images.external,
        images.quality,
        images.characteristics,
        images.prevalence,
        network.model,
        network.preprocessing,
        network.building,
        network.initialisation,
        network.selection,
        network.software,
        network.ensemble,
        network.specification,
        network.predictions,
        network.imbalance,
        network.updating,
        network.thresholds,
        network.kept_outputs,
        results.measures,
        results.intervals,
        results.accuracy,
        results.performance,
        results.rates,
        results.crosstab,
        results.updated,
        results.heterogeneity,
        results.subgroups,
        results.errors,
        results.fairness,
        results.variability,
        results.limits,
    )
}
