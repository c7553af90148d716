"""Arguments → one call of a workflow each → what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effmed import workflows
from effmed.cli.output import Output, make_table, megabytes
from effmed.cli.tables import anatomy_tables, inspection_tables, recalibration_tables, variants_tables
from effmed.errors import RecipeError
from effmed.learn.scaling import PHI_PREFIX
from effmed.recipe import recipe_keys
from effmed.run import check_absent
from effmed.workflows import catalogue
from effmed.workflows.values import Training

if TYPE_CHECKING:
    from effmed.workflows.values import Trained

DEFAULT_VARIANT = "b0"
UNREADABLE_ROWS = 3  # exit code of predict when the table is complete but some rows could not be read

DataOption = Annotated[Path, typer.Option("--data", help="Folder of images, or a MedMNIST .npz file.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="CSV or Parquet table: path, label, patient_id …")]
RecipeOption = Annotated[str | None, typer.Option("--recipe", help="Name of a shipped recipe, or a .yaml file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="section.key=value", help="Override one setting; repeatable.")
]
RunArgument = Annotated[Path | None, typer.Argument(help="Run folder; default: the newest complete run below ./runs.")]
WEIGHTS_HELP = "Start from a file, an earlier run or bundle, or a tag of 'weights list'."
PHI_HELP = "Compound coefficient: a network between the variants."
RUN_HELP = "Run folder; default: runs/<data>-<variant>-<n>. torchrun takes the longer name."
RunOption = Annotated[Path | None, typer.Option("--run", "--run-folder", help=RUN_HELP)]
FoldsOption = Annotated[
    int | None, typer.Option("--folds", min=1, help="Cross-validate: an ensemble of one network per fold.")
]
SeedsOption = Annotated[
    int | None, typer.Option("--seeds", min=1, help="An ensemble of networks that differ in their seed alone.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what --out names.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result and errors.")]


def inspect(
    data: Annotated[Path, typer.Argument(help="Folder of images, or a MedMNIST .npz file.")],
    labels: LabelsOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for a contact sheet, index.html.")] = None,
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Describe a data folder: images, patients, classes, leaks, shortcuts. Writes nothing but --out."""
    output = Output(as_json=as_json, quiet=quiet)
    if out is not None:
        check_absent(out, overwrite=overwrite)
    found = workflows.inspect(data, labels, catalogue.find_recipe(None, settings or []), out=out, talk=output)
    if found.sheet is not None:
        output.say(f"contact sheet {found.sheet}")
    output.result(found.model_dump(mode="json"), inspection_tables(found))


def train(
    context: typer.Context,
    variant: Annotated[
        str, typer.Option("--variant", help="b0 … b7, v2-s …, lite0 …, see 'effmed variants'; auto chooses one.")
    ] = DEFAULT_VARIANT,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of images, or a MedMNIST .npz file.")] = None,
    labels: LabelsOption = None,
    phi: Annotated[float | None, typer.Option("--phi", help=PHI_HELP)] = None,
    recipe: RecipeOption = None,
    weights: Annotated[str | None, typer.Option("--weights", help=WEIGHTS_HELP)] = None,
    folds: FoldsOption = None,
    seeds: SeedsOption = None,
    run: RunOption = None,
    settings: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan with its reasons; write nothing.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fine-tune a network, calibrate and evaluate it. Leaves one run folder."""
    output = Output(as_json=as_json, quiet=quiet)
    if resume:
        _check_alone(context.params)
        _print_trained(output, workflows.resume(run, output))
        return
    if data is None:
        raise RecipeError("--data is missing", hint="effmed train --variant b4 --data FOLDER [--labels TABLE.csv]")
    several = [f"train.{name}={n}" for name, n in (("folds", folds), ("seeds", seeds)) if n is not None]
    wanted = catalogue.find_recipe(recipe, [*(settings or []), *several])
    if weights is not None:
        wanted = wanted.model_copy(update={"model": wanted.model.model_copy(update={"weights": weights})})
    training = Training(_chosen_variant(variant, phi), data, labels, wanted, run)
    if dry_run:
        _print_plan(output, workflows.plan(training, output))
    else:
        _print_trained(output, workflows.train(training, output))


def evaluate(
    run: RunArgument = None,
    data: Annotated[Path | None, typer.Option("--data", help="Labelled images of another source.")] = None,
    labels: LabelsOption = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Any program's scores, CSV or Parquet.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report, plots and tables.")] = None,
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Report discrimination, calibration and decisions with their intervals."""
    output = Output(as_json=as_json, quiet=quiet)
    recipe = catalogue.find_recipe(None, settings or [])
    if out is not None:
        check_absent(out, overwrite=overwrite)
    if predictions is not None:
        if run is not None or data is not None or labels is not None:
            raise RecipeError("--predictions stands alone", hint="leave RUN, --data and --labels out, or --predictions")
        report = workflows.evaluate_table(predictions, recipe)
    else:
        report = workflows.evaluate(run, recipe, data=data, labels=labels, talk=output)
    if out is not None:
        pictures = workflows.thumbnails(report, run, recipe, data=data, talk=output)
        workflows.write_report(report, out, pictures)
        output.say(f"report {out / 'report.html'}")
    rows = list(workflows.headline(report).items())
    output.result(report.model_dump(mode="json", by_alias=True), make_table("", ("metric", "result"), rows))


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Run folder, or predictions table (.csv, .parquet).")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one, about the same images.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the comparison's page and table.")] = None,
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare two networks on the same images: A minus B, with interval and p-value."""
    output = Output(as_json=as_json, quiet=quiet)
    recipe = catalogue.find_recipe(None, settings or [])
    if out is not None:
        check_absent(out, overwrite=overwrite)
    comparison = workflows.compare(first, second, recipe)
    for text in comparison.warnings:
        output.warn(text)
    if out is not None:
        workflows.write_comparison(comparison, out)
        output.say(f"comparison {out / 'comparison.html'}")
    columns = ("measure", *comparison.names, "difference (95 % interval)", "p", "notes")
    table = make_table("", columns, workflows.differences(comparison))
    output.result(comparison.model_dump(mode="json", by_alias=True), table)


def predict(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="Table to write: .csv or .parquet.")],
    run: RunArgument = None,
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score every image of a folder. Exit code 3 when rows could not be read; the table is complete all the same."""
    output = Output(as_json=as_json, quiet=quiet)
    check_absent(out, overwrite=overwrite)
    scored = workflows.predict(run, data, out, catalogue.find_recipe(None, settings or []), output)
    human = f"{scored.out}: {scored.n_ok} scored, {scored.n_unreadable} unreadable, {scored.n_refused} refused"
    output.result(scored.model_dump(mode="json"), human)
    if scored.n_unreadable or scored.n_refused:
        raise typer.Exit(UNREADABLE_ROWS)


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder, or a bundle folder.")],
    data: Annotated[Path, typer.Option("--data", help="Images of the site; labelled, but for a new prevalence.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the new bundle.")],
    labels: LabelsOption = None,
    settings: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Recalibrate a bundle for another site; the network stays. --set calibration.update=… says what is changed."""
    output = Output(as_json=as_json, quiet=quiet)
    check_absent(out, overwrite=overwrite)
    recipe = catalogue.find_recipe(None, settings or [])
    made = workflows.calibrate(run, recipe, data=data, labels=labels, out=out, talk=output)
    output.result(made.model_dump(mode="json"), recalibration_tables(made))


def variants(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the variants with their place on the compound-scaling curve."""
    context.obj = as_json
    if context.invoked_subcommand is not None:
        return
    rows = workflows.variants()
    Output(as_json=as_json).result(rows, variants_tables(rows))


def variants_show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What --variant takes: b4, v2-s, lite0, timm:resnet50 …")],
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Side of the square input; default: the variant's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a variant's network stage by stage, read from the network as it is built."""
    found = workflows.variants_show(name, image_size)
    output = Output(as_json=as_json or bool(context.obj))  # --json may stand before 'show' too
    output.result(found.model_dump(mode="json"), anatomy_tables(found))


def recipes_list(as_json: JsonOption = False) -> None:
    """List the shipped recipes."""
    first_lines = {name: text.splitlines()[0].lstrip("# ") for name, text in catalogue.recipes().items()}
    Output(as_json=as_json).result(first_lines, make_table("", ("recipe", "for"), list(first_lines.items())))


def recipes_show(
    name: Annotated[str, typer.Argument(help="A recipe that 'effmed recipes list' names.")], as_json: JsonOption = False
) -> None:
    """Print a recipe: copy it, change it, and give it to --recipe."""
    recipe = catalogue.find_recipe(name, [])
    Output(as_json=as_json).result(recipe.model_dump(mode="json"), catalogue.recipes()[name].rstrip())


def recipes_keys(as_json: JsonOption = False) -> None:
    """List every key with its values, default and meaning."""
    columns = ("key", "values", "default", "meaning")
    keys = recipe_keys()
    Output(as_json=as_json).result(
        [dict(zip(columns, key, strict=True)) for key in keys], make_table("", columns, keys)
    )


def weights_list(as_json: JsonOption = False) -> None:
    """List the sets of pretrained weights, each variant's default first, and where they lie on this machine."""
    rows = workflows.weights_list()
    columns = ("variant", "tag", "default", "training", "resolution_px", "imagenet_top1_percent", "licence", "here")
    shown = [[{True: "yes", False: ""}.get(row[name], row[name]) for name in columns] for row in rows]
    Output(as_json=as_json).result(rows, make_table("", columns, shown))


def weights_fetch(
    variant: Annotated[str, typer.Argument(help="b0 … b7, v2-s …, lite0 …; see 'effmed weights list'.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the weights and their record; others may lie there.")],
    tag: Annotated[str, typer.Option("--tag", help="Another set of the variant's weights than its default.")] = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring weights into a folder that an isolated machine can use: copy it there and set EFFMED_WEIGHTS to it."""
    output = Output(as_json=as_json, quiet=quiet)
    found = workflows.weights_fetch(variant, tag, out, output)
    human = [
        f"{found.file}: {megabytes(found.bytes)}, licence {found.licence}, SHA-256 {found.sha256}",
        f"use it on any machine: EFFMED_WEIGHTS={out} effmed train --variant {variant} --data FOLDER",
    ]
    output.result(found.model_dump(mode="json"), human)


def cache_info(as_json: JsonOption = False) -> None:
    """Tell where decoded images are kept, and how large they are."""
    facts = workflows.cache_info()
    rows = [(kept["what"], kept["n_images"] or None, megabytes(kept["bytes"])) for kept in facts.kept]
    title = f"{facts.folder}: {megabytes(facts.bytes)}"
    Output(as_json=as_json).result(facts.model_dump(mode="json"), make_table(title, ("kept", "images", "size"), rows))


def cache_clear(as_json: JsonOption = False) -> None:
    """Delete decoded images and what is remembered of files; all of it can be made again."""
    freed = workflows.cache_clear()
    Output(as_json=as_json).result({"freed_bytes": freed}, f"{megabytes(freed)} freed")


def doctor(as_json: JsonOption = False) -> None:
    """Describe this machine: versions, device, weights, cache."""
    found = workflows.doctor()
    flat = {**{key: value for key, value in found.items() if key != "packages"}, **found["packages"]}
    Output(as_json=as_json).result(found, make_table("", ("what", "is"), list(flat.items())))


def _chosen_variant(variant: str, phi: float | None) -> str:
    if phi is None:
        return variant
    if variant != DEFAULT_VARIANT:
        raise RecipeError(f"--phi {phi:g} and --variant {variant} are two networks", hint="leave one of them out")
    return f"{PHI_PREFIX}{phi}"


def _check_alone(given: dict[str, Any]) -> None:
    """Refuse flags that a resumed run would not heed: everything is decided, and stands in its plan."""
    heeded = {"run", "resume", "as_json", "quiet"}
    idle = [name for name, value in given.items() if name not in heeded and value and value != DEFAULT_VARIANT]
    if idle:
        flags = ", ".join("--set" if name == "settings" else f"--{name.replace('_', '-')}" for name in idle)
        problem = f"{flags}: without effect with --resume, which goes on as the run was planned"
        raise RecipeError(problem, hint="leave that out, or train anew without --resume")


def _print_trained(output: Output, trained: Trained | None) -> None:
    if trained is None:  # one of several processes, of which the first speaks
        return
    human = [f"run    {trained.run}", f"bundle {trained.bundle}", f"report {Path(trained.run) / 'report.html'}"]
    output.result(trained.model_dump(mode="json"), human)


def _print_plan(output: Output, plan: Any) -> None:  # noqa: ANN401  the plan's type would import its libraries
    rows = [(key, _plan_value(plan, key), reason) for key, reason in plan.reasons.items()]
    table = make_table("Plan (nothing written)", ("decision", "value", "reason"), rows)
    output.result(plan.model_dump(mode="json"), table)


def _plan_value(plan: Any, key: str) -> str:  # noqa: ANN401  the plan's type would import its libraries
    height, width = plan.preprocessing.height, plan.preprocessing.width
    elsewhere = {
        "model.image_size": width if height == width else f"{height}x{width}",
        "model.channels": plan.preprocessing.channels,
        "data.depth": plan.preprocessing.depth,
        "imbalance.method": plan.imbalance.method,
        "calibration.method": plan.calibration,
        "augment.test_views": plan.augment.test_views,
    }
    section, _, name = key.partition(".")
    return str(elsewhere.get(key, getattr(plan, name or section, "–")))
