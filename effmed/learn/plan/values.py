"""What goes into a plan, and the plan itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from effmed.data.pixels import Preprocessing
from effmed.learn.scaling import PHI_PREFIX, find_variant
from effmed.recipe import AugmentSettings, Auto, DecisionSettings, ImbalanceMethod

T = TypeVar("T")
SET_BY_RECIPE = "set by the recipe"
CARRIED_MIN = 0.5  # share of the parameters below which a network learns from scratch, whatever it was given


class Reasons:
    """Collects a sentence per decision, and what speaks against it, while the plan is made."""

    def __init__(self) -> None:
        self.sentences: dict[str, str] = {}
        self.warnings: list[str] = []

    def choose(self, key: str, wanted: T | Auto, automatic: T, sentence: str) -> T:
        """Take the recipe's value, or the automatic one with its reason."""
        if wanted != "auto":
            self.sentences[key] = SET_BY_RECIPE
            return wanted
        self.sentences[key] = sentence
        return automatic


@dataclass(frozen=True)
class Head:
    """What the outputs of a network mean.

    Attributes:
        task: "binary", "multiclass" or "multilabel".
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
        is_fixed: Whether the network takes images of one size alone.
        head: What their head was trained for, where that may be the same as what is wanted: an earlier bundle's.
    """

    origin: str
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution_px: int = 0
    why: str = ""
    is_fixed: bool = False
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
        memory_bytes: Of the GPU; elsewhere what this process may use. 0 if unknown.
        speed: Multiply-adds per second of training, 0 where nobody measured it.
        can_keep_memory: Whether the C library can be told to keep freed memory.
        can_fuse: Whether effmed's own kernels were compiled here, and the network has layers for them.
        fused_by: The compiler, or what was in the way.
        processes: That train together, one per device; of a CPU they share cores and memory.
        bfloat16_gain: Steps in bfloat16 per step in float32 of the network that will be trained; 0 where nobody
            measured it.
        image_bytes: Memory that one more image in a step takes; 0 where nobody measured it.
        fixed_bytes: Memory that a step takes besides its images.
        can_checkpoint: Whether the network can compute its blocks twice, with the same statistics.
        can_compile: Whether torch.compile can run.
    """

    device: Literal["cpu", "cuda", "mps"]
    name: str
    cores: int
    has_bfloat16: bool
    memory_bytes: int = 0
    speed: float = 0.0
    can_keep_memory: bool = False
    can_fuse: bool = False
    fused_by: str = ""
    processes: int = 1
    bfloat16_gain: float = 0.0
    image_bytes: int = 0
    fixed_bytes: int = 0
    can_checkpoint: bool = False
    can_compile: bool = False


class Imbalance(BaseModel):
    """What is done about rare classes while a network learns.

    Attributes:
        method: Its name in the recipe.
        weights: In the loss, of each class; of several labels absent and present of each. 1 for nothing.
        drawn: How many times as often as it comes an image of each class is drawn; 1 for nothing.
        offsets: Added to the logits before the loss, one per logit; 0 for nothing.
        focus: Exponents γ of the loss where a class or label is present and where it is absent; 0 for nothing.
        augment: Factor of the strength of augmentation, of each class; 1 for nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: ImbalanceMethod
    weights: tuple[float, ...]
    drawn: tuple[float, ...]
    offsets: tuple[float, ...]
    focus: tuple[float, float]
    augment: tuple[float, ...]

    @property
    def shift(self) -> tuple[float, ...]:
        """What weights, drawing and offsets add to the logits of a network that learned all there is, one per logit.

        Weighting or drawing class k by w_k multiplies its odds by w_k: of one logit, logit q = logit p + ln w_1/w_0; of
        more, q_k ∝ w_k p_k. Where an offset is added while learning, the network learns what is left of the logit.

        Source:
            King and Zeng, Logistic Regression in Rare Events Data (2001), section 4; for offsets Menon et al.,
            Long-tail Learning via Logit Adjustment (ICLR 2021), equation 9.
        """
        logs = [math.log(weight * drawn) for weight, drawn in zip(self.weights, self.drawn, strict=True)]
        if len(logs) != len(self.offsets):
            logs = [present - absent for absent, present in zip(logs[::2], logs[1::2], strict=True)]
        return tuple(each - offset for each, offset in zip(logs, self.offsets, strict=True))


class Plan(BaseModel):
    """Everything decided before training; afterwards nobody looks at the machine or the recipe again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["binary", "multiclass", "multilabel"]
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
    micro_batch: int
    processes: int
    share_statistics: bool
    gradient_checkpointing: bool
    epochs: int
    time_budget_min: float
    checkpoint_min: float
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    depth: Literal["head", "all"] | Annotated[int, Field(ge=1)]
    views: int
    unfreeze_epochs: int
    layer_decay: float
    batch_norm: Literal["train", "frozen"]
    ema_decay: float
    loss: Literal["binary cross-entropy", "cross-entropy"]
    imbalance: Imbalance
    label_smoothing: float
    mixup: float
    cutmix: float
    progressive: float
    uncertain: Literal["ignore", "zeros", "ones"]
    blank: Literal["ignore", "zeros"]
    metric: Literal["auroc", "log_loss"]
    patience: int
    augment: AugmentSettings
    calibration: str
    decision: DecisionSettings
    seed: int
    folds: int = 1  # like the next one: plans from before there were ensembles lack it
    seeds: int = 1
    device: Literal["cpu", "cuda", "mps"]
    device_name: str
    precision: Literal["float32", "bfloat16", "float16"]
    threads: int
    keep_memory: bool
    fused_layers: bool = False  # as in plans from before there were any
    compile: bool
    n_train: int
    n_val: int
    n_test: int
    reasons: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def n_outputs(self) -> int:
        """Outputs of the head: one logit for two classes, else one per class or label."""
        return 1 if self.task == "binary" else len(self.classes)

    @property
    def n_networks(self) -> int:
        """Networks that are trained: one, or as many as there are folds or seeds."""
        return max(self.folds, self.seeds)

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
