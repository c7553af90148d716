"""Recipe + fingerprint + native input + machine → Plan: everything decided, a reason for each decision (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from effmed.data.pixels import Preprocessing
from effmed.data.pixels.window import parse_windows
from effmed.errors import RecipeError
from effmed.learn.scaling import BASE_RESOLUTION_PX, PHI_PREFIX, Variant, compound_scaling, find_variant
from effmed.recipe import AugmentSettings, Auto, DecisionSettings

if TYPE_CHECKING:
    from effmed.data.fingerprint import Fingerprint
    from effmed.recipe import DataSettings, Recipe

T = TypeVar("T")
Depth: TypeAlias = Literal["uint8", "uint16"]

# Sizes and rates chosen by runs on chest radiographs and ultrasound images; see docs/results.md.
IMAGES_TO_SEE = 5000
EPOCHS_MIN, EPOCHS_MAX = 4, 20
BATCH_MAX = {"cpu": 32, "cuda": 64, "mps": 32}
BATCH_MIN = 8
STEPS_PER_EPOCH_MIN = 10
BATCH_PIXELS = 32 * 300 * 300
LEARNING_RATE_FINE_TUNED = 2e-4
LEARNING_RATE_FROM_SCRATCH = 1e-3
PATIENCE_MIN = 4
CARRIED_MIN = 0.5  # share of the parameters below which a network learns from scratch, whatever it was given
BITS_PER_BYTE = 8
SET_BY_RECIPE = "set by the recipe"


@dataclass(frozen=True)
class Head:
    """What the outputs of a network mean.

    Attributes:
        task: "binary", "multiclass" …
        classes: In the order of the outputs.
    """

    task: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class NativeInput:
    """What the chosen weights were trained with.

    Attributes:
        origin: "installed package …", "file …", "bundle …", "hub …" or "none".
        licence: Licence of the weights, "unknown" where nobody says; "" from scratch.
        mean: Per channel (RGB, or an earlier bundle's own), subtracted from intensities in [0, 1].
        std: Per channel, what the difference is divided by.
        resolution_px: Side of the images that the weights were trained on; 0 if unknown.
        why: Which weights these are and why these, in words.
        head: What their head was trained for, where that may be the same as what is wanted: an earlier bundle's.
    """

    origin: str
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution_px: int = 0
    why: str = ""
    head: Head | None = None

    @property
    def is_pretrained(self) -> bool:
        """Whether there are weights to start from."""
        return self.origin != "none"


@dataclass(frozen=True)
class Machine:
    """What the network will run on.

    Attributes:
        device: "cpu", "cuda" or "mps".
        name: The device in words.
        cores: Logical CPUs that this process may use.
        has_bfloat16: Whether the device computes bfloat16 fast.
    """

    device: Literal["cpu", "cuda", "mps"]
    name: str
    cores: int
    has_bfloat16: bool


class Plan(BaseModel):
    """Everything decided before training; afterwards nobody looks at the machine or the recipe again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["binary", "multiclass"]
    classes: tuple[str, ...]
    variant: str
    network: str
    weights: str
    weights_licence: str
    preprocessing: Preprocessing
    frames: Literal["error", "first", "middle", "all"]
    frame_rule: Literal["mean", "max"]
    level: Literal["image", "study", "patient"]
    level_rule: Literal["mean", "max", "noisy-or"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dropout: float
    drop_path: float
    batch_size: int
    epochs: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    loss: Literal["binary cross-entropy", "cross-entropy"]
    class_weights: tuple[float, ...]
    metric: Literal["auroc", "log_loss"]
    patience: int
    augment: AugmentSettings
    calibration: str
    decision: DecisionSettings
    seed: int
    device: Literal["cpu", "cuda", "mps"]
    device_name: str
    precision: Literal["float32", "bfloat16", "float16"]
    threads: int
    n_train: int
    n_val: int
    n_test: int
    reasons: dict[str, str]

    @property
    def n_outputs(self) -> int:
        """Outputs of the head: one logit for two classes, else one per class."""
        return 1 if self.task == "binary" else len(self.classes)

    @property
    def is_fine_tuned(self) -> bool:
        """Whether most of the backbone starts from weights."""
        if not self.variant.startswith(PHI_PREFIX):
            return self.weights != "none"
        return self.weights != "none" and find_variant(self.variant).carried_fraction >= CARRIED_MIN

    @property
    def head(self) -> Head:
        """What the outputs mean."""
        return Head(self.task, self.classes)


class _Reasons:
    """Collects a sentence per decision while the plan is made."""

    def __init__(self) -> None:
        self.sentences: dict[str, str] = {}

    def choose(self, key: str, wanted: T | Auto, automatic: T, sentence: str) -> T:
        """Take the recipe's value, or the automatic one with its reason."""
        if wanted != "auto":
            self.sentences[key] = SET_BY_RECIPE
            return wanted
        self.sentences[key] = sentence
        return automatic


def make_plan(
    recipe: Recipe, fingerprint: Fingerprint, variant: Variant, native: NativeInput, machine: Machine
) -> Plan:
    """Decide everything that training needs.

    Args:
        recipe: What is wanted.
        fingerprint: What the data is; its splits are made.
        variant: The point on the compound-scaling curve.
        native: What the starting weights expect.
        machine: Where the network will run.

    Raises:
        RecipeError: ``data.window`` is not a window, or contradicts ``model.channels``.
    """
    reasons = _Reasons()
    classes = tuple(fingerprint.train_images_per_class)
    task: Literal["binary", "multiclass"] = "binary" if len(classes) == 2 else "multiclass"
    n_train = fingerprint.images_per_split["train"]
    image_size = reasons.choose(
        "model.image_size", recipe.model.image_size, variant.resolution_px, _size_reason(variant)
    )
    preprocessing = _plan_preprocessing(recipe, fingerprint, image_size, reasons)
    batch_size = _plan_batch(recipe, n_train, image_size, machine, reasons)
    epochs = _plan_epochs(recipe, n_train, reasons)
    reasons.sentences["weights"] = _weights_reason(native, variant, Head(task, classes))
    reasons.sentences |= _frame_reasons(recipe.data)
    return Plan(
        task=task,
        classes=classes,
        variant=variant.name,
        network=variant.built,
        weights=native.origin,
        weights_licence=native.licence,
        preprocessing=preprocessing,
        frames=recipe.data.frames,
        frame_rule=recipe.data.frame_rule,
        **_plan_level(recipe, len(classes), reasons),
        mean=_per_channel(native.mean, preprocessing.channels),
        std=_per_channel(native.std, preprocessing.channels),
        batch_size=batch_size,
        epochs=epochs,
        n_train=n_train,
        n_val=fingerprint.images_per_split["val"],
        n_test=fingerprint.images_per_split["test"],
        **_plan_optimisation(recipe, variant, native, epochs, reasons),
        **_plan_loss(recipe, fingerprint, reasons),
        **_plan_machine(recipe, machine, reasons),
        reasons=reasons.sentences,
    )


def _size_reason(variant: Variant) -> str:
    if variant.multipliers is not None:
        return f"{BASE_RESOLUTION_PX} × 1.15^φ for φ = {variant.phi:g}, to the nearest multiple of 8 px"
    if variant.phi is None:
        return f"{variant.resolution_px} px: what {variant.name} was designed for ({variant.source})"
    law = round(BASE_RESOLUTION_PX * compound_scaling(variant.phi)[2])
    return (
        f"compound coefficient φ = {variant.phi:g} of {variant.name}: "
        f"{BASE_RESOLUTION_PX} × 1.15^φ = {law} px by the law, {variant.resolution_px} px as published"
    )


def _weights_reason(native: NativeInput, variant: Variant, head: Head) -> str:
    if not native.is_pretrained:
        return "from scratch, as the recipe asks; normalised with mean 0.5 and standard deviation 0.5"
    sentences = [f"{native.origin}, licence {native.licence or 'unknown'}", "normalised as these weights were trained"]
    if native.why:
        sentences.insert(1, native.why)
    if variant.multipliers is not None:
        share = f"{variant.carried_fraction:.1%} of the network's parameters are carried over and no more fit"
        sentences.insert(1, share)
    if native.head is not None:
        sentences.append("head kept: the same classes" if native.head == head else "new head: other classes")
    return "; ".join(sentences)


def _frame_reasons(settings: DataSettings) -> dict[str, str]:
    is_open, is_mean = settings.frames == "error", settings.frame_rule == "mean"
    unknown = "the recipe does not say what files of several frames mean: they are refused"
    usual = "weighs all frames alike" if settings.frames == "all" else "without effect: data.frames is not 'all'"
    return {
        "data.frames": unknown if is_open else SET_BY_RECIPE,
        "data.frame_rule": usual if is_mean else SET_BY_RECIPE,
    }


def _plan_level(recipe: Recipe, n_classes: int, reasons: _Reasons) -> dict[str, str]:
    """Return what one prediction is about; by which rule is refused where it has no meaning."""
    data = recipe.data
    if data.level_rule == "noisy-or" and n_classes > 2:
        problem = f"data.level_rule = noisy-or is for two classes, not for {n_classes} that exclude each other"
        raise RecipeError(problem, hint="--set data.level_rule=mean, or max")
    is_image = data.level == "image"
    without = "without effect: one prediction is about one image"
    reasons.sentences["data.level"] = "every image is a prediction of its own" if is_image else SET_BY_RECIPE
    reasons.sentences["data.level_rule"] = (
        without if is_image else f"{data.level_rule} over the images of a {data.level}"
    )
    return {"level": data.level, "level_rule": data.level_rule}


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Channels that are not three take the mean over RGB, which is exact where the three are equal."""
    return values if channels == len(values) else (sum(values) / len(values),) * channels


def _plan_preprocessing(recipe: Recipe, fingerprint: Fingerprint, image_size: int, reasons: _Reasons) -> Preprocessing:
    n_windows = len(parse_windows(recipe.data.window))
    channels = _plan_channels(recipe, fingerprint, n_windows, reasons)
    is_grey = channels == 1 or n_windows > 1
    is_deep = is_grey and any(int(bits) > BITS_PER_BYTE for bits in fingerprint.bits)
    why = "images have more than 8 bits: 16 are kept" if is_deep else "no grey image has more than 8 bits"
    automatic: Depth = "uint16" if is_deep else "uint8"
    depth = reasons.choose("data.depth", recipe.data.depth, automatic, why)
    return Preprocessing(
        height=image_size,
        width=image_size,
        channels=channels,
        depth=depth,
        window=recipe.data.window,
        max_megapixels=recipe.data.max_megapixels,
        reduced_decode=recipe.data.reduced_decode,
    )


def _plan_channels(recipe: Recipe, fingerprint: Fingerprint, n_windows: int, reasons: _Reasons) -> int:
    wanted = recipe.model.channels
    if n_windows > 1:
        why = f"data.window names {n_windows} windows, each of which is a channel"
        if wanted not in ("auto", n_windows):
            raise RecipeError(f"model.channels = {wanted}, but {why}", hint="leave model.channels at auto")
        reasons.sentences["model.channels"] = why
        return n_windows
    colour = fingerprint.colour_fraction > 0
    why = f"{fingerprint.colour_fraction:.0%} of the images are in colour" if colour else "all images are grey"
    return reasons.choose("model.channels", wanted, 3 if colour else 1, why)


def _plan_batch(recipe: Recipe, n_train: int, image_size: int, machine: Machine, reasons: _Reasons) -> int:
    by_memory = BATCH_PIXELS // image_size**2 * BATCH_MAX[machine.device] // BATCH_MAX["cpu"]
    by_steps = n_train // STEPS_PER_EPOCH_MIN
    limit = max(BATCH_MIN, min(by_memory, by_steps, BATCH_MAX[machine.device]))
    size = 1 << (limit.bit_length() - 1)  # the power of two at or below
    why = f"{n_train} training images in at least {STEPS_PER_EPOCH_MIN} steps, {image_size} px on {machine.device}"
    return reasons.choose("train.batch_size", recipe.train.batch_size, size, why)


def _plan_epochs(recipe: Recipe, n_train: int, reasons: _Reasons) -> int:
    epochs = min(EPOCHS_MAX, max(EPOCHS_MIN, round(IMAGES_TO_SEE / n_train)))
    why = f"about {IMAGES_TO_SEE} images seen, within {EPOCHS_MIN} to {EPOCHS_MAX} epochs"
    return reasons.choose("train.epochs", recipe.train.epochs, epochs, why)


def _plan_optimisation(
    recipe: Recipe, variant: Variant, native: NativeInput, epochs: int, reasons: _Reasons
) -> dict[str, float | int | str | AugmentSettings | DecisionSettings]:
    train = recipe.train
    fine_tunes = native.is_pretrained and variant.carried_fraction >= CARRIED_MIN
    rate = LEARNING_RATE_FINE_TUNED if fine_tunes else LEARNING_RATE_FROM_SCRATCH
    why = "usual for AdamW on pretrained weights" if fine_tunes else "usual for AdamW from scratch"
    published = f"published for {variant.name if variant.multipliers is None else variant.architecture}"
    return {
        "dropout": reasons.choose("model.dropout", recipe.model.dropout, variant.dropout, published),
        "drop_path": recipe.model.drop_path,
        "learning_rate": reasons.choose("train.learning_rate", train.learning_rate, rate, why),
        "weight_decay": train.weight_decay,
        "warmup_fraction": train.warmup_fraction,
        "metric": reasons.choose(
            "train.metric", train.metric, "auroc", "ranking is what fine-tuning must learn; calibration follows"
        ),
        "patience": reasons.choose(
            "train.patience", train.patience, max(PATIENCE_MIN, epochs // 2), "half of the epochs"
        ),
        "augment": recipe.augment,
        "decision": recipe.decision,
        "seed": train.seed,
    }


def _plan_loss(recipe: Recipe, fingerprint: Fingerprint, reasons: _Reasons) -> dict[str, object]:
    counts = fingerprint.train_images_per_class
    binary = len(counts) == 2
    spread = ", ".join(f"{name} {count}" for name, count in counts.items())
    why = f"training images: {spread}; weighting distorts probabilities and rarely helps the AUROC"
    method = reasons.choose("imbalance.method", recipe.imbalance.method, "none", why)
    weights = (1.0,) * len(counts)
    if method == "weights":
        weights = tuple(sum(counts.values()) / (len(counts) * count) for count in counts.values())
    why = "two parameters for two classes" if binary else "one temperature and a bias per class"
    fitted = "platt" if binary else "bias-corrected-temperature"
    reasons.sentences["loss"] = f"one of {len(counts)} exclusive classes per image"
    return {
        "loss": "binary cross-entropy" if binary else "cross-entropy",
        "class_weights": weights,
        "calibration": reasons.choose("calibration.method", recipe.calibration.method, fitted, f"{why}, fitted on val"),
    }


def _plan_machine(recipe: Recipe, machine: Machine, reasons: _Reasons) -> dict[str, object]:
    half = "bfloat16" if machine.has_bfloat16 else "float16"
    precision = half if machine.device == "cuda" else "float32"
    why = (
        f"{machine.name} computes {half} fast"
        if machine.device == "cuda"
        else f"exact, and no slower on {machine.device}"
    )
    reasons.sentences["train.device"] = machine.name
    return {
        "device": machine.device,
        "device_name": machine.name,
        "precision": reasons.choose("train.precision", recipe.train.precision, precision, why),
        "threads": reasons.choose(
            "train.threads", recipe.train.threads, machine.cores, "cores that this process may use"
        ),
    }
