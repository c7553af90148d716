"""Builders for the tests of ``learn`` and ``apply``: a small plan and separable images."""

from types import SimpleNamespace

import numpy as np

from effmed.data.pixels import Preprocessing
from effmed.evaluate.calibrators import Calibrator
from effmed.learn.bundle import BundleSheet, weights_digest, write_bundle
from effmed.learn.loader import Images
from effmed.learn.network import build_network
from effmed.learn.plan import Imbalance, Plan
from effmed.recipe import AugmentSettings, DecisionSettings

SIZE = 32


def plan(**changes):
    """A plan for timm's smallest EfficientNet on 32 x 32 grey images."""
    channels = changes.pop("channels", 1)
    pixel_depth = changes.pop("pixel_depth", "uint8")
    values = {
        "task": "binary",
        "classes": ("clear", "opacity"),
        "variant": "timm:test_efficientnet",
        "network": "test_efficientnet",
        "weights": "none",
        "weights_licence": "",
        "preprocessing": Preprocessing(
            height=SIZE, width=SIZE, channels=channels, depth=pixel_depth, window="stored", max_megapixels=10.0
        ),
        "frames": "error",
        "frame_rule": "mean",
        "level": "image",
        "level_rule": "mean",
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "dropout": 0.0,
        "drop_path": 0.0,
        "batch_size": 8,
        "micro_batch": changes.get("batch_size", 8),
        "processes": 1,
        "share_statistics": False,
        "gradient_checkpointing": False,
        "epochs": 2,
        "time_budget_min": 0.0,
        "checkpoint_min": 0.0,
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
        "warmup_fraction": 0.1,
        "depth": "all",
        "views": 1,
        "unfreeze_epochs": 0,
        "layer_decay": 1.0,
        "batch_norm": "train",
        "ema_decay": 0.0,
        "loss": "binary cross-entropy",
        "imbalance": imbalance(),
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
        "progressive": 1.0,
        "uncertain": "ignore",
        "blank": "ignore",
        "metric": "auroc",
        "patience": 10,
        "augment": AugmentSettings(rotation_degrees=0, scale_fraction=0, shift_fraction=0),
        "calibration": "platt",
        "decision": DecisionSettings(),
        "seed": 0,
        "device": "cpu",
        "device_name": "cpu",
        "precision": "float32",
        "threads": 1,
        "keep_memory": False,
        "compile": False,
        "n_train": 24,
        "n_val": 12,
        "n_test": 12,
        "reasons": {},
        "warnings": (),
    }
    return Plan(**(values | changes))


def imbalance(n_classes=2, *, n_logits=1, method="none", **changes):
    """Nothing done about rare classes, but for the changes; two classes have one logit."""
    ones = (1.0,) * n_classes
    usual = {"weights": ones, "drawn": ones, "offsets": (0.0,) * n_logits, "focus": (0.0, 0.0), "augment": ones}
    return Imbalance(method=method, **(usual | changes))


def bundle(folder, made):
    """Write the bundle of a plan whose network was not trained; returns its folder."""
    network = build_network(made)
    uncalibrated = {"maps": (), "prior_shift": (0.0,) * made.n_outputs, "fitted_on": "", "prevalence": (), "reason": ""}
    sheet = BundleSheet(
        plan=made.model_dump(mode="json"),
        classes=made.classes,
        preprocessing=made.preprocessing,
        calibrator=Calibrator(method="none", n=0, n_events=0, **uncalibrated),
        operating_points=(),
        sets=None,
        referral=None,
        fingerprint_digest="0" * 64,
        weights_sha256=weights_digest(network),
        best_epoch=1,
        n_patients={"train": 24, "val": 12, "test": 12},
    )
    folder.mkdir(parents=True)
    write_bundle(folder, sheet, network, "# a bundle")
    return folder


def images(n=24, *, seed=0, n_classes=2, separable=True):
    """Noise with a bright patch whose place is the class; or, not separable, whose place is chance."""
    chance = np.random.default_rng(seed)
    truth = np.arange(n) % n_classes
    place = truth if separable else chance.permutation(truth)
    pixels = chance.integers(0, 80, (n, SIZE, SIZE)).astype(np.uint8)
    for i, k in enumerate(place):
        pixels[i, 2 + 10 * k : 10 + 10 * k, 8:24] += 120
    return Images(pixels, np.arange(n), truth.astype(np.int64))


def fingerprint(**changes):
    """The fingerprint of a small grey data set, split."""
    values = {
        "images_per_split": {"train": 140, "val": 30, "test": 30},
        "train_images_per_class": {"clear": 80, "opacity": 60},
        "bits": {"8": 200},
        "colour_fraction": 0.0,
        "label_counts": {},
        "task_reason": "",
        "height_px": (1000.0, 1000.0, 1000.0),
        "width_px": (1000.0, 1000.0, 1000.0),
        "shapes": {"1": 140},
        "pixel_aspect": 1.0,
    }
    return SimpleNamespace(**(values | changes))
