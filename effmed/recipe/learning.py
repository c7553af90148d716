"""Recipe sections about learning: the network, how it is fitted, rare classes, random changes of images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from effmed.recipe.kinds import (
    Auto,
    Count,
    DecayFactor,
    Fraction,
    HalfOpenFraction,
    ImbalanceMethod,
    InputSize,
    NotNegative,
    NotNegativeCount,
    OpenFraction,
    Positive,
    ProgressiveFactor,
    Section,
    Seed,
    UpToHalf,
)


class ModelSettings(Section):
    """Which network, from which weights, at which resolution."""

    weights: str = "auto"
    """'auto' (effmed's choice: $EFFMED_WEIGHTS, installed package, cache, hub), 'none' (from scratch), a tag that
    'effmed weights list' names, a file (.safetensors, .pth), or an earlier run or bundle."""
    image_size: InputSize | Auto = "auto"
    """Side of the square input in pixels, or HEIGHTxWIDTH of a rectangle such as 512x384; auto: the variant's own."""
    channels: Literal[1, 3] | Auto = "auto"
    """Input channels; auto: 1 for grey images, 3 for colour, one per window where data.window names several."""
    dropout: HalfOpenFraction | Auto = "auto"
    """Dropout before the head; auto: the variant's own."""
    drop_path: HalfOpenFraction | Auto = "auto"
    """Stochastic depth at the last block; auto: the variant's own."""


class TrainSettings(Section):
    """How the network is fitted."""

    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    """Of several labels: what an uncertain one (-1) counts as on train and val."""
    blank: Literal["ignore", "zeros"] = "ignore"
    """Of several labels: whether a blank one counts as absent on train and val. In a column of names an empty cell
    names no label: all are absent."""
    depth: Literal["head", "all"] | Count | Auto = "auto"
    """What learns: the head alone on stored features, so many of the last stages and the head, or all."""
    views: Count | Auto = "auto"
    """Where the head alone learns: stored views of each training image, the image as it is and augmented ones."""
    unfreeze_epochs: NotNegativeCount = 0
    """Epochs after which one more stage joins, from the head on; 0: all that learn do so from the start."""
    layer_decay: DecayFactor | Auto = "auto"
    """Factor of the learning rate from one stage to the one before it."""
    batch_norm: Literal["train", "frozen"] | Auto = "auto"
    """Whether statistics of batch normalisation are those of the batches and learn, or stay those of the weights."""
    ema_decay: HalfOpenFraction | Auto = "auto"
    """Decay per step of a moving average of the weights, which is what is judged and kept; 0: none."""
    epochs: Count | Auto = "auto"
    """Passes over the training images; auto: by their number."""
    batch_size: Count | Auto = "auto"
    """Images per step, over all processes."""
    micro_batch: Count | Auto = "auto"
    """Images at a time, per process; auto: the whole step where memory allows. Gradients of the parts are added up."""
    gradient_checkpointing: bool | Auto = "auto"
    """Compute the inside of every block twice to save memory; auto: where few images at a time fit without."""
    share_statistics: bool | Auto = "auto"
    """Batch normalisation over the images of all processes; auto: where each has few at a time."""
    learning_rate: Positive | Auto = "auto"
    """Peak learning rate of AdamW."""
    weight_decay: NotNegative = 0.02
    """Decoupled weight decay; biases and norms have none."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps over which the learning rate rises."""
    label_smoothing: HalfOpenFraction = 0.0
    """Share of each label that is spread over all classes: it draws probabilities to the middle."""
    mixup: NotNegative = 0.0
    """Mix pairs of images with shares from a Beta distribution with this parameter; 0: never."""
    cutmix: NotNegative = 0.0
    """Paste a box of one image into another, with shares from a Beta distribution with this parameter; 0: never."""
    progressive: ProgressiveFactor = 1.0
    """Share of the full side that the first quarter of the epochs sees, faster; 1: all epochs see whole images."""
    metric: Literal["auroc", "log_loss"] | Auto = "auto"
    """Validation metric that chooses the epoch; auto: auroc, averaged over classes."""
    patience: Count | Auto = "auto"
    """Epochs without a better validation metric before stopping."""
    seed: Seed = 0
    """Seed of initialisation, order and augmentation."""
    folds: Count = 1
    """Networks of an ensemble, each of which learns from all but one of so many folds of the patients in train and val,
    and is judged on that one (--folds); 1: one network, train and val as they are."""
    seeds: Count = 1
    """Networks of an ensemble that differ in their seed alone: train.seed and those after it (--seeds)."""
    device: Literal["cpu", "cuda", "mps"] | Auto = "auto"
    """Where the network runs."""
    precision: Literal["float32", "bfloat16", "float16"] | Auto = "auto"
    """Autocast type while learning; auto: half on CUDA, on a CPU bfloat16 where measured to be faster, else float32.
    Scores are computed in float32."""
    threads: Count | Auto = "auto"
    """CPU threads; auto: the cores this process may use."""
    keep_memory: bool | Auto = "auto"
    """Keep freed memory for the next step: faster, takes more of it; auto: on a CPU, where the C library is glibc."""
    fused_layers: bool | Auto = "auto"
    """Compute batch normalisation with its activation, depthwise convolution and squeeze-and-excitation with code of
    effmed's own, compiled on this machine; auto: on a CPU with a compiler of C (gcc)."""
    compile: bool | Auto = "auto"
    """Compile the network first: minutes, which long trainings on CUDA get back; auto: these."""
    checkpoint_min: NotNegative = 10.0
    """Minutes between checkpoints within an epoch; 0: at the end of epochs alone."""
    time_budget_min: NotNegative = 0.0
    """Minutes from the start of the command to the report, 0: no limit. The schedule ends in time; '--variant auto'
    chooses by it too."""
    tracker: Literal["none", "tensorboard", "mlflow"] = "none"
    """Where the numbers of every epoch go besides the run folder; each needs its extra: effmed[mlflow]."""
    tracker_uri: str = ""
    """Of tensorboard a folder, which gets one per run; of mlflow a SQLite file or the address of a server. By default
    all stays in the run folder."""


class ImbalanceSettings(Section):
    """What is done about rare classes."""

    method: ImbalanceMethod | Auto = "auto"
    """What each does to the probabilities is undone exactly; asymmetric is for several labels, sampler for classes."""
    effective_beta: OpenFraction = 0.999
    """Of effective-number: share of an image that the next one of its class adds."""
    focal_gamma: Positive = 2.0
    """Of focal: exponent that lets what is learned already count less."""
    adjust_tau: Positive = 1.0
    """Of logit-adjust: how much of the logarithm of the shares of the classes is added to the logits while learning."""
    sampler_balance: Fraction = 1.0
    """Of sampler: 0 draws classes as they come, 1 all alike, between them shares between."""
    asymmetric_present: NotNegative = 0.0
    """Of asymmetric: exponent γ where a label is present."""
    asymmetric_absent: NotNegative = 4.0
    """Of asymmetric: exponent γ where a label is absent."""
    minority_augment: Annotated[float, Field(ge=1.0, le=3.0)] = 1.0
    """Factor of the strength of augmentation for classes that have fewer images than the average class."""


class AugmentSettings(Section):
    """Random changes of training images; validation, test and prediction see images as they are, but for test_views."""

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
    test_views: Count = 1
    """Views of each image whose logits are averaged on val, on test and at prediction: the image as it is, and others
    that are changed as for training, every image in the same way; 1: the image as it is."""
