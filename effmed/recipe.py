"""Recipe: what the user wants, as a closed model; YAML and ``section.key=value`` in, every finding at once."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from effmed.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def _check_rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or list(values) != sorted(set(values)):
        raise PydanticCustomError("not_rising", "the numbers should rise, and there should be one")
    return values


def _check_shareable(names: tuple[str, ...]) -> tuple[str, ...]:
    if not NO_SUBGROUPS.isdisjoint(names):
        raise PydanticCustomError("no_subgroup", "a report neither lists patients or images nor splits by truth")
    return names


Auto = Literal["auto"]
NO_SUBGROUPS = {"image", "frame", "patient", "study", "truth"}  # columns of every predictions table
Rising = AfterValidator(_check_rising)
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
HalfOpenFraction = Annotated[float, Field(ge=0.0, lt=1.0)]
UpToHalf = Annotated[float, Field(ge=0.0, le=0.5)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
ImageSize = Annotated[int, Field(ge=32, le=2048)]
Years = Annotated[int, Field(gt=0, lt=120)]
CalibrationMethod = Literal[
    "none",
    "platt",
    "temperature",
    "bias-corrected-temperature",
    "intercept",
    "vector",
    "beta",
    "isotonic",
    "venn-abers",
]
CalibrationUpdate = Literal["in-the-large", "slope", "full", "prevalence", "em", "bbse"]
AuditKind = Literal[
    "shared-study", "shared-instance", "identical-pixels", "near-duplicates", "conflicting-labels", "shortcut"
]

_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true | false", "array": "list"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class Section(BaseModel):
    """A closed, frozen part of a recipe: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DataSettings(Section):
    """Where images, labels and patients are found, and how images are divided."""

    image_column: str = "auto"
    """Column of the label table with the image path; auto: path, image, file, filename."""
    label_column: str = "auto"
    """Column with the class; auto: label, class, target, diagnosis, y, or one 0/1 column per class."""
    label_columns: tuple[str, ...] = ()
    """One 0/1 column per class, where they are not found by themselves."""
    patient_column: str = "auto"
    """Column with the patient; auto: patient_id, patient, subject_id, subject."""
    study_column: str = "auto"
    """Column with the study; auto: study_id, study, study_uid, accession."""
    split_column: str = "auto"
    """Column with train, val or test; auto: split, set, fold_name."""
    view_column: str = "auto"
    """Column with the view or projection; auto: view, view_position, projection."""
    sex_column: str = "auto"
    """Column with the sex; auto: sex, gender."""
    age_column: str = "auto"
    """Column with the age in years; auto: age, age_years."""
    site_column: str = "auto"
    """Column with the hospital or source; auto: site, hospital, center, centre, institution."""
    patient_pattern: str = ""
    """Regular expression whose first group, searched in the relative path, is the patient."""
    one_image_per_patient: bool = False
    """State that every image is of another patient, where no patient id exists."""
    keep_ids: bool = False
    """Write patient and study ids as they are, not pseudonyms keyed to this machine, into manifest and predictions."""
    positive_class: str = "auto"
    """Of two classes, the one whose probability is reported; auto: the one not named like 'normal'."""
    max_unreadable_fraction: Fraction = 0.0
    """Share of images that may be unreadable before the command stops."""
    val_fraction: OpenFraction = 0.15
    """Share of the patients for validation."""
    test_fraction: OpenFraction = 0.15
    """Share of the patients for the test."""
    split_seed: Seed = 0
    """Seed of the division of patients."""
    window: str = "stored"
    """'stored' (the file's first, else percentiles), 'percentile', 'full', 'center/width', or several with commas."""
    frames: Literal["error", "first", "middle", "all"] = "error"
    """What a multi-frame file means."""
    frame_rule: Literal["mean", "max"] = "mean"
    """How the logits of a file's frames become one where data.frames=all; the best epoch is chosen by single frames."""
    level: Literal["image", "study", "patient"] = "image"
    """What one prediction is about; decided at training, the same for val, test and predict."""
    level_rule: Literal["mean", "max", "noisy-or"] = "mean"
    """How the logits of a study's or patient's images become one; the best epoch is chosen by single images."""
    max_megapixels: Positive = 200.0
    """Rows x columns x frames above which a file is refused before decoding, in 10^6."""
    depth: Literal["uint8", "uint16"] | Auto = "auto"
    """Grey levels that are kept and shown to the network; auto: 16 bits where a grey image has more than 8."""
    reduced_decode: bool = False
    """Decode JPEG 2000 at 1/2, 1/4 … while that is at least twice the target; faster, changes grey levels slightly."""


class AuditSettings(Section):
    """What the audit of the data may find without stopping a training."""

    allow: tuple[AuditKind, ...] = ()
    """Grave findings to accept, such as [shortcut]; 'effmed inspect' names what it finds."""


class ModelSettings(Section):
    """Which network, from which weights, at which resolution."""

    weights: str = "auto"
    """'auto' (effmed's choice: $EFFMED_WEIGHTS, installed package, cache, hub), 'none' (from scratch), a tag that
    'effmed weights list' names, a file (.safetensors, .pth), or an earlier run or bundle."""
    image_size: ImageSize | Auto = "auto"
    """Side of the square input in pixels; auto: the variant's own."""
    channels: Literal[1, 3] | Auto = "auto"
    """Input channels; auto: 1 for grey images, 3 for colour, one per window where data.window names several."""
    dropout: HalfOpenFraction | Auto = "auto"
    """Dropout before the head; auto: the variant's own."""
    drop_path: HalfOpenFraction = 0.1
    """Stochastic depth at the last block."""


class TrainSettings(Section):
    """How the network is fitted."""

    epochs: Count | Auto = "auto"
    """Passes over the training images; auto: by their number."""
    batch_size: Count | Auto = "auto"
    """Images per step."""
    learning_rate: Positive | Auto = "auto"
    """Peak learning rate of AdamW."""
    weight_decay: NotNegative = 0.02
    """Decoupled weight decay; biases and norms have none."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps over which the learning rate rises."""
    metric: Literal["auroc", "log_loss"] | Auto = "auto"
    """Validation metric that chooses the epoch; auto: auroc, averaged over classes."""
    patience: Count | Auto = "auto"
    """Epochs without a better validation metric before stopping."""
    seed: Seed = 0
    """Seed of initialisation, order and augmentation."""
    device: Literal["cpu", "cuda", "mps"] | Auto = "auto"
    """Where the network runs."""
    precision: Literal["float32", "bfloat16", "float16"] | Auto = "auto"
    """Autocast type; auto: half on CUDA, float32 elsewhere."""
    threads: Count | Auto = "auto"
    """CPU threads; auto: the cores this process may use."""


class ImbalanceSettings(Section):
    """What is done about rare classes."""

    method: Literal["none", "weights"] | Auto = "auto"
    """Class weights in the loss; their shift of the probabilities is undone exactly."""


class AugmentSettings(Section):
    """Random changes of training images; never applied in validation, test or prediction."""

    horizontal_flip: bool = False
    """Mirror left and right; off because laterality carries meaning."""
    vertical_flip: bool = False
    """Mirror top and bottom."""
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 10.0
    """Largest rotation either way."""
    shift_fraction: UpToHalf = 0.05
    """Largest shift, as a share of the side."""
    scale_fraction: UpToHalf = 0.1
    """Largest change of size."""
    brightness_fraction: Fraction = 0.1
    """Largest change of brightness, as a share of the grey range."""
    contrast_fraction: Fraction = 0.15
    """Largest change of contrast."""


class CalibrationSettings(Section):
    """How logits become probabilities; fitted on the validation split."""

    method: CalibrationMethod | Auto = "auto"
    """Auto: platt for two classes, bias-corrected-temperature for more; refused when events are too few."""
    update: CalibrationUpdate = "slope"
    """What 'effmed calibrate' changes: constant, constant and slope, all; or the prevalence, stated or estimated."""


class DecisionSettings(Section):
    """Where a probability becomes a decision; chosen on the validation split."""

    rule: Literal["threshold", "sensitivity", "specificity", "youden", "net-benefit"] = "sensitivity"
    """What the threshold must reach on val; youden is marked exploratory. Two classes only; more use the largest."""
    value: Fraction = 0.9
    """The threshold itself, the least sensitivity or specificity, or the net benefit's threshold probability."""
    miss_fraction: OpenFraction = 0.1
    """Share of images whose class may be missing from their prediction set (split conformal prediction)."""
    sets_by_class: bool = True
    """Whether that share holds within every class, or only on average."""
    max_error_fraction: OpenFraction = 0.05
    """Share of wrong decisions aimed at when the least certain images are referred to a person."""


class ReportSettings(Section):
    """What the evaluation shows."""

    bootstrap_replicates: Annotated[int, Field(ge=100)] = 2000
    """Patient bootstrap replicates."""
    seed: Seed = 0
    """Seed of the bootstrap."""
    net_benefit_at: tuple[HalfOpenFraction, ...] = (0.1, 0.2, 0.3)
    """Threshold probabilities at which the net benefit is given with its interval."""
    decision_range: Annotated[tuple[OpenFraction, OpenFraction], Rising] = (0.01, 0.99)
    """Lowest and highest threshold probability of the decision curve."""
    prevalence: tuple[OpenFraction, ...] = ()
    """Prevalence where the network will be used: of the positive class of two, else of every class, adding up to 1."""
    prevalence_estimate: Literal["none", "em", "bbse"] = "none"
    """Estimate the prevalence from the probabilities alone, assuming that images of a class look as on val."""
    subgroups: Annotated[tuple[str, ...], AfterValidator(_check_shareable)] | Auto = "auto"
    """Columns whose values are evaluated one by one; auto: sex, age, site, scanner and view where they are known."""
    age_bands: Annotated[tuple[Years, ...], Rising] = (18, 40, 65, 80)
    """Where one age band ends and the next begins."""
    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    """What the label -1 (uncertain) of several labels counts as; the other policies are shown beside it."""
    blank: Literal["ignore", "zeros"] = "ignore"
    """What a blank among several labels counts as."""
    n_worst: Annotated[int, Field(ge=0)] = 10
    """Worst false positives and false negatives that are listed for every class."""
    thumbnails: bool = False
    """Show small pictures of these in the report; do not share it then."""


class ColumnSettings(Section):
    """How ``effmed evaluate --predictions`` reads a table that another program wrote."""

    truth: str = "auto"
    """Column with the true class; auto: truth, label, y; or truth_<label>, y_<label> of several labels."""
    probability: str = "auto"
    """Column with the probability of the positive class; auto: probability_<class>, probability, p, score."""
    score: str = ""
    """Column with a score of the positive class that is no probability: only ranking is judged."""
    patient: str = "auto"
    """Column with the patient; auto: patient, patient_id."""


class Recipe(Section):
    """What is wanted. Everything has a default; ``auto`` is decided by the plan, with a reason."""

    data: DataSettings = DataSettings()
    audit: AuditSettings = AuditSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    imbalance: ImbalanceSettings = ImbalanceSettings()
    augment: AugmentSettings = AugmentSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    decision: DecisionSettings = DecisionSettings()
    report: ReportSettings = ReportSettings()
    columns: ColumnSettings = ColumnSettings()


def recipe_keys() -> list[tuple[str, str, str, str]]:
    """Return ``(key, type, default, description)`` of every setting, in the recipe's order."""
    keys = []
    for section in Recipe.model_fields:
        model = type(getattr(Recipe(), section))
        for name, schema in model.model_json_schema()["properties"].items():
            default = _flow_text(schema["default"])
            keys.append((f"{section}.{name}", _type_text(schema), default, schema.get("description", "")))
    return keys


def read_recipe(path: Path | None, settings: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply ``section.key=value`` settings on top.

    Args:
        path: The recipe file, or None for the defaults.
        settings: Texts of the form ``section.key=value``; the value is read as YAML.

    Raises:
        RecipeError: The file is no mapping, or keys or values are wrong; all findings are in one message.
    """
    values: dict[str, Any] = {} if path is None else _read_mapping(path)
    for setting in settings:
        key, equals, text = setting.partition("=")
        section, dot, name = key.partition(".")
        if not (equals and dot):
            problem = f"--set {setting!r} is not of the form section.key=value"
            raise RecipeError(problem, hint="for example --set train.epochs=5")
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            problem = f"section {section!r} of {path} is not a mapping"
            raise RecipeError(problem, hint=f"write '{section}:' and its keys indented below")
        inner[name] = _setting_value(text)
    return make_recipe(values)


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested mappings.

    Raises:
        RecipeError: Unknown keys (with the nearest known one) or values out of range; all of them at once.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        # A union reports one finding per member; the first names the key well enough.
        findings = {_location(item["loc"]): _finding(item) for item in reversed(error.errors())}
        lines = list(reversed(findings.values()))
        raise RecipeError("; ".join(lines), hint="'effmed recipes keys' lists every key with its range") from error


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as YAML, every key included."""
    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a sentence that offers the known name nearest to ``name``, or lists them all where none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        problem = f"recipe {path} cannot be read: {error}"
        raise RecipeError(problem, hint="'effmed recipes list' names the shipped ones") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        problem = f"recipe {path} is not valid YAML{line}"
        raise RecipeError(problem, hint="check indentation and colons there") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        problem = f"recipe {path} is not a mapping of sections"
        raise RecipeError(problem, hint="'effmed recipes show chest-xray' prints one that is")
    return loaded


def _setting_value(text: str) -> object:
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text  # a regular expression or a rule such as "sensitivity>=0.9" need not be YAML


def _location(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc[:2])


def _finding(item: Any) -> str:  # noqa: ANN401  pydantic's own untyped record
    key = _location(item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {key!r}, {nearest(key, _known_keys(key))}"
    return f"{key} = {item['input']!r} is not allowed: {item['msg'][0].lower()}{item['msg'][1:]}"


def _known_keys(key: str) -> list[str]:
    return [known for known, *_ in recipe_keys()] if "." in key else list(Recipe.model_fields)


def _type_text(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_text(part) for part in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " | ".join(_flow_text(value) for value in schema.get("enum", [schema.get("const")]))
    limits = [f"{sign} {schema[name]:g}" for name, sign in _LIMITS.items() if name in schema]
    return f"{_TYPES[schema['type']]} {' and '.join(limits)}".rstrip()


def _flow_text(value: object) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True)).splitlines()[0]
