"""What a comparison holds, as closed models: ``comparison.json`` is exactly this."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from effmed.evaluate.report.model import Section


class PairedDifference(Section):
    """One measure of two networks on the same images, and their difference: first minus second.

    Attributes:
        name: Of the measure, as in a report.
        class_name: Class against the rest; None for all classes. ``class`` in JSON.
        threshold: Threshold probability of a net benefit; None for other measures.
        first: Of the first network; None where it is not estimable.
        second: Of the second network, likewise.
        difference: First minus second; None unless the status is ok.
        low: Lower limit of the 95 % interval of the difference; None where there is none.
        high: Upper limit, likewise.
        p_value: Two-sided, of no difference; None where no test was made.
        first_only: Of decisions: images that only the first decides rightly; None for other measures.
        second_only: Likewise only the second.
        method: How interval and p-value were made.
        unit: What was taken as independent.
        n: Images.
        n_events: Images of the class among them, all where no class is named; of decisions those that only one
            network decides rightly.
        n_patients: Patients; None where none are known.
        status: ``not_estimable`` has no difference.
        reason: Why something is missing, or what to beware of.
    """

    name: str
    class_name: str | None = Field(alias="class")
    threshold: float | None = None
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    first_only: int | None = None
    second_only: int | None = None
    method: str
    unit: Literal["image", "patient"]
    n: int
    n_events: int
    n_patients: int | None
    status: Literal["ok", "not_estimable"]
    reason: str


class Comparison(Section):
    """The paired differences of two networks on the same images.

    Attributes:
        version: Of this format.
        names: Of the first and the second network.
        classes: In the order of the outputs; two classes are (negative, positive).
        n_images: Images that are compared.
        n_patients: Patients among them; None where none are known.
        images_per_class: Of these images.
        n_left_out: Images of the tables that are not compared; the warnings say why.
        digests: SHA-256 of both predictions tables.
        bootstrap_replicates: Of every bootstrap interval.
        seed: Of the bootstrap.
        warnings: What to know before believing the numbers, one sentence each.
        differences: Every measure.
    """

    version: Literal[1] = 1
    names: tuple[str, str]
    classes: list[str]
    n_images: int
    n_patients: int | None
    images_per_class: dict[str, int]
    n_left_out: int
    digests: tuple[str, str]
    bootstrap_replicates: int
    seed: int
    warnings: list[str]
    differences: list[PairedDifference]
