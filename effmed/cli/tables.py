"""What ``effmed inspect``, ``effmed calibrate`` and ``effmed variants`` found, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effmed.cli.output import make_table
from effmed.workflows.values import measure_text

if TYPE_CHECKING:
    from rich.table import Table

    from effmed.learn.anatomy import Anatomy, BuiltStage
    from effmed.workflows.values import Inspection, Recalibrated

MILLION, BILLION = 1e6, 1e9
N_VALUES = 4  # of each attribute; --json and the contact sheet have all
N_UNREADABLE = 10
N_IMAGES = 4  # named by a finding
PACKAGED = "installed package"  # how the place of weights in a package begins


def inspection_tables(found: Inspection) -> list[str | Table]:
    """Return tables and texts to print: splits, attributes, unreadable files with the remedy, findings."""
    return [
        _splits(found),
        _attributes(found),
        *_unreadable(found.unreadable),
        *(_finding(finding) for finding in found.findings),
        *([] if found.findings else ["\naudit: nothing suspicious found"]),
    ]


def _splits(found: Inspection) -> Table:
    classes = list(found.classes)
    rows = [
        (share["split"], share["n_images"], share["n_patients"], share["n_studies"], *share["per_class"].values())
        for share in found.overview["splits"]
    ]
    return make_table("", ("split", "images", "patients", "studies", *classes), rows)


def _attributes(found: Inspection) -> Table:
    classes = list(found.classes)
    rows: list[tuple[object, ...]] = []
    for name, tallies in found.overview["tables"].items():
        shown = tallies[:N_VALUES]
        for number, tally in enumerate(shown):
            attribute = "" if number else name.replace("_", " ")
            rows.append((attribute, tally["value"], tally["n_images"], *tally["per_class"].values()))
        if len(tallies) > len(shown):
            rest = tallies[N_VALUES:]
            per_class = [sum(tally["per_class"][label] for tally in rest) for label in classes]
            rows.append(("", f"{len(rest)} other values", sum(tally["n_images"] for tally in rest), *per_class))
    return make_table("", ("attribute", "value", "images", *classes), rows)


def _unreadable(items: list[dict[str, str]]) -> list[str]:
    if not items:
        return []
    lines = [f"{item['path']}: {item['reason']} ({item['hint']})" for item in items[:N_UNREADABLE]]
    more = [f"… {len(items) - N_UNREADABLE} more"] if len(items) > N_UNREADABLE else []
    return ["\n".join([f"\nunreadable ({len(items)} in all):", *lines, *more])]


def _finding(finding: dict[str, Any]) -> str:
    images = finding["images"][:N_IMAGES]
    dots = " …" if finding["n_images"] > len(images) else ""
    named = f"\n  {', '.join(images)}{dots}" if images else ""
    return f"\n{finding['severity']}: {finding['kind']}: {finding['text']}\n  {finding['hint']}{named}"


def recalibration_tables(made: Recalibrated) -> list[str | Table]:
    """Return texts and a table to print: the new bundle, what was changed, calibration before and after, caveats."""
    lines = [f"bundle {made.out}", f"calibration {made.calibrator}"]
    if made.prevalence:
        lines.append("prevalence " + ", ".join(f"{name} {share:.3f}" for name, share in made.prevalence.items()))
    if made.threshold_before is not None and made.threshold_after is not None:
        lines.append(f"threshold {made.threshold_before:.4f} before, {made.threshold_after:.4f} after")
    rows = [
        (f"{row['name']} {row['class']}", measure_text(row["before"]), measure_text(row["after"]))
        for row in made.metrics
    ]
    table = [make_table("", ("metric", "before", "after"), rows)] if rows else []
    return ["\n".join(lines), *table, "\n".join(made.notes)]


def variants_tables(rows: list[dict[str, Any]]) -> list[str | Table]:
    """Return the variants as people compare them, and what the column of weights means; --json has all that is known.

    Args:
        rows: As ``effmed.workflows.variants`` returns them.
    """
    keys = {
        "name": "variant",
        "phi": "φ",
        "depth": "depth",
        "width": "width",
        "resolution_px": "px",
        "parameters_m": "params (M)",
        "gmacs": "GMACs",
    }
    columns = (*keys.values(), "weights at their px", "licence", "here")
    shown = [[*(row[key] for key in keys), *_weights_cells(row["weights"])] for row in rows]
    others = [
        row["name"] for row in rows if any(each["resolution_px"] != row["resolution_px"] for each in row["weights"])
    ]
    note = (
        "\npx: side of the input as the paper or reference code has it, which a training takes unless told otherwise.\n"
        "weights: the side that timm records for their training, then their names, the default first; other than px "
        f"for {', '.join(others)}.\n"
        "here: those that lie on this machine; 'effmed weights list' says more."
    )
    return [make_table("", columns, shown), note]


def _weights_cells(sets: list[dict[str, Any]]) -> tuple[str, str, str | None]:
    """The sets of a variant by their side, their licences, and the places of those that are here."""
    sides = dict.fromkeys(each["resolution_px"] for each in sets)
    named = [f"{side}: " + " ".join(each["tag"] for each in sets if each["resolution_px"] == side) for side in sides]
    places: dict[str, list[str]] = {}
    for each in sets:
        if each["here"]:
            place = "package" if each["here"].startswith(PACKAGED) else each["here"]
            places.setdefault(place, []).append(each["tag"])
    here = "; ".join(place if len(sets) == 1 else f"{place}: {' '.join(tags)}" for place, tags in places.items())
    return "; ".join(named), ", ".join(dict.fromkeys(each["licence"] for each in sets)), here or None


def anatomy_tables(found: Anatomy) -> list[str | Table]:
    """Return the stage table of a built network, and its totals."""
    columns = (
        *("stage", "operator", "kernel", "stride", "expansion", "SE", "channels", "layers"),
        *("input px", "parameters", "MMACs"),
    )
    table = make_table("", columns, [_stage_row(stage) for stage in found.stages])
    totals = (
        f"{found.parameters:,} parameters, {found.multiply_adds / BILLION:.2f} GMACs at {found.image_size} px, "
        f"{found.channels} channels, {found.n_outputs:,} outputs"
    )
    outside = found.parameters - sum(stage.parameters for stage in found.stages)
    more = [f"{outside:,} parameters belong to no stage"] if outside else []
    return [f"{found.variant}: {found.network}, as built", table, "\n".join([totals, *more])]


def _stage_row(stage: BuiltStage) -> tuple[object, ...]:
    return (
        *(stage.stage, stage.operator, stage.kernel, stage.stride),
        *(_short(stage.expansion), _short(stage.squeeze), stage.channels, stage.layers),
        *(stage.side_px, stage.parameters, round(stage.multiply_adds / MILLION, 1)),
    )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
