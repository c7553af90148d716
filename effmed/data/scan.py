"""Folders, label tables and headers → Manifest."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effmed.data.labels import SPLIT_NAMES, normalise_splits, order_classes, read_labels, shortened
from effmed.data.pixels import Header, read_header, sniff
from effmed.data.records import Manifest, Unreadable, make_frame, with_types
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from effmed.recipe import DataSettings

IMAGE_SUFFIXES = {".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
NPZ_SPLITS = ("train", "val", "test")  # MedMNIST's names


def scan(
    data: Path,
    labels: Path | None,
    settings: DataSettings,
    *,
    labelled: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Find all images below a folder with their labels and patients; reads headers, not pixels.

    Args:
        data: Folder, or a MedMNIST ``.npz`` file.
        labels: Label table, or None where folders name the classes.
        settings: ``data`` section of the recipe.
        labelled: False for prediction: labels and patients are taken where they are known and never missed.
        on_progress: Told ``(files read, files in all)``.

    Raises:
        DataError: There is no image, or labels or patients are missing or contradict each other.
    """
    if data.suffix == ".npz" and data.is_file():
        return _scan_npz(data, settings)
    if not data.is_dir():
        raise DataError(
            f"{data} is not a folder", hint="name the folder that holds the images, or a MedMNIST .npz file"
        )
    table = None if labels is None else read_labels(labels, settings)
    manifest = _scan_headers(data, settings, on_progress)
    if len(manifest) + len(manifest.unreadable) == 0:
        raise DataError(f"no image below {data}", hint="name a folder that holds DICOM, PNG, JPEG, TIFF or BMP files")
    if labelled:
        check_unreadable(len(manifest) + len(manifest.unreadable), manifest.unreadable, settings)
    if table is not None and labels is not None:
        manifest = _with_table(manifest, table, labels)
    else:
        manifest = _with_folders(manifest, labelled=labelled)
    manifest = _with_patients(manifest, settings, labelled=labelled)
    return _with_classes(manifest, settings, labelled=labelled)


def check_unreadable(n_files: int, unreadable: Sequence[Unreadable], settings: DataSettings) -> None:
    """Stop when more files are unreadable than ``data.max_unreadable_fraction`` allows.

    Raises:
        DataError: Names the first ten with their reasons.
    """
    if len(unreadable) <= settings.max_unreadable_fraction * n_files:
        return
    listed = shortened(f"{item.image} ({item.reason})" for item in unreadable)
    problem = f"{len(unreadable)} of {n_files} images cannot be read: {listed}"
    allowed = len(unreadable) / n_files
    hint = (
        f"{unreadable[0].hint}; or leave them out: --set data.max_unreadable_fraction={np.ceil(allowed * 100) / 100:g}"
    )
    raise DataError(problem, hint=hint)


def find_files(root: Path) -> Iterator[Path]:
    """Yield the regular files below ``root`` in order: no hidden one, no link out of it or in circles."""
    inside = root.resolve()
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file() and path.resolve().is_relative_to(inside):
                yield path


def _scan_headers(data: Path, settings: DataSettings, on_progress: Callable[[int, int], None] | None) -> Manifest:
    files = list(find_files(data))
    rows: list[dict[str, Any]] = []
    unreadable: list[Unreadable] = []
    for done, path in enumerate(files, start=1):
        image = path.relative_to(data).as_posix()
        try:
            header = _header_of(path, settings.max_megapixels)
            if header is not None:
                rows += [_row(image, frame, header) for frame in _frames(header, settings)]
        except DataError as error:
            unreadable.append(Unreadable(image, 0, error.problem, error.hint))
        if on_progress is not None:
            on_progress(done, len(files))
    return Manifest(data, make_frame(rows), unreadable=tuple(unreadable))


def _header_of(path: Path, max_megapixels: float) -> Header | None:
    """Return the header of an image; None for a file that does not claim to be one."""
    if sniff(path):
        return read_header(path, max_megapixels=max_megapixels)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(
            f"not an image, although it is called {path.suffix}", hint="remove it, or copy the original again"
        )
    return None


def _frames(header: Header, settings: DataSettings) -> Sequence[int]:
    if header.frames == 1 or settings.frames == "first":
        return (0,)
    if settings.frames == "middle":
        return (header.frames // 2,)
    if settings.frames == "all":
        return range(header.frames)
    raise DataError(
        f"has {header.frames} frames", hint="say what they mean: --set data.frames=first (or middle, or all)"
    )


def _row(image: str, frame: int, header: Header) -> dict[str, Any]:
    known = {
        name: getattr(header, name) for name in ("view", "sex", "laterality", "modality", "manufacturer", "scanner")
    }
    picture = {name: getattr(header, name) for name in ("rows", "columns", "bits", "colour", "photometric", "syntax")}
    identity = {"image": image, "frame": frame, "patient": header.patient, "study": header.study}
    return {**identity, **known, **picture, "age": header.age_years, "body_part": header.body_part}


def _with_table(manifest: Manifest, table: pd.DataFrame, labels: Path) -> Manifest:
    """Join the label table by whole relative path, or by bare names where these are unique."""
    keys, how = _match(manifest, table["image"], labels)
    known = set(manifest.frame["image"]) | {item.image for item in manifest.unreadable}
    absent = table.loc[[key not in known for key in keys], "image"]
    if len(absent):
        problem = f"{labels} names {len(absent)} files that are not below {manifest.root}: {shortened(absent)}"
        raise DataError(problem, hint="give paths relative to the data folder, or correct --data")
    named = table.assign(image=keys).set_index("image")
    rows = manifest.frame[manifest.frame["image"].isin(named.index)].reset_index(drop=True)
    for column in named.columns:
        values = rows["image"].map(named[column]).astype("string")
        old = rows[column].astype("string")
        rows[column] = values if column in ("label", "split") else values.fillna(old)
    if "split" in named.columns:
        rows["split"] = normalise_splits(rows["split"].astype("string"), str(labels))
    n_left = len(manifest) - len(rows)
    left = f"; {n_left} images that it does not name are left out" if n_left else ""
    return manifest.with_frame(with_types(rows), labels=f"labels from {labels.name}, matched by {how}{left}")


def _match(manifest: Manifest, images: pd.Series, labels: Path) -> tuple[list[str], str]:
    """Return the manifest's name of each table row, and how it was found."""
    known = set(manifest.frame["image"]) | {item.image for item in manifest.unreadable}
    root = manifest.root.resolve()
    keys = [_relative(text, root, labels, known) for text in images]
    if all(key in known for key in keys) or any("/" in text for text in images):
        return keys, "relative path"
    by_name: dict[str, list[str]] = {}
    for image in known:
        by_name.setdefault(image.rpartition("/")[2], []).append(image)
    doubled = [text for text in images if len(by_name.get(text, ())) > 1]
    if doubled:
        problem = f"{labels}: the names {shortened(doubled)} stand in more than one folder"
        raise DataError(problem, hint="give paths relative to the data folder")
    return [by_name.get(text, [text])[0] for text in images], "file name, each of which stands in one folder only"


def _relative(text: str, root: Path, labels: Path, known: set[str]) -> str:
    plain = Path(text.replace("\\", "/"))
    if not plain.is_absolute() and plain.as_posix() in known:
        return plain.as_posix()
    for base in (root, labels.resolve().parent):
        candidate = Path(os.path.normpath(base / plain))
        if candidate.is_relative_to(root) and candidate.relative_to(root).as_posix() in known:
            return candidate.relative_to(root).as_posix()
    return text


def _with_folders(manifest: Manifest, *, labelled: bool) -> Manifest:
    """Read class, and split where there is one, from the folders that an image lies in."""
    parts = [image.split("/")[:-1] for image in manifest.frame["image"]]
    split = [SPLIT_NAMES.get(part[0].lower()) if part else None for part in parts]
    has_splits = bool(split) and all(split)
    label = [part[1 if has_splits else 0] if len(part) > (1 if has_splits else 0) else None for part in parts]
    if not all(label):
        if not labelled:
            return manifest.with_frame(manifest.frame, labels="no labels")
        missing = [image for image, name in zip(manifest.frame["image"], label, strict=True) if not name]
        problem = f"{len(missing)} images have no label: {shortened(missing)}"
        raise DataError(
            problem, hint="put them into one folder per class, or give --labels TABLE.csv with path and label"
        )
    frame = manifest.frame.assign(label=label, split=split if has_splits else pd.NA)
    how = "the folders inside train, val and test" if has_splits else "the first folder of each path"
    return manifest.with_frame(with_types(frame), labels=f"labels from {how}")


def _with_patients(manifest: Manifest, settings: DataSettings, *, labelled: bool) -> Manifest:
    frame = manifest.frame
    known = frame["patient"].notna()
    if known.all() and len(frame):
        return manifest.with_frame(frame, patient="patients from the label table or the DICOM headers")
    if settings.patient_pattern:
        found = _patients_by_pattern(frame.loc[~known, "image"], settings.patient_pattern)
        filled = frame["patient"].where(known, found.reindex(frame.index))
        return manifest.with_frame(frame.assign(patient=filled), patient="patients from the pattern in the path")
    if settings.one_image_per_patient:
        own = (frame["image"] + "#" + frame["frame"].astype("string")).where(~known, frame["patient"])
        return manifest.with_frame(
            frame.assign(patient=own), patient="every image is another patient: set by the recipe"
        )
    if not labelled:
        return manifest
    problem = f"{int((~known).sum())} of {len(frame)} images have no patient: {shortened(frame.loc[~known, 'image'])}"
    hint = (
        "add a patient_id column to the label table; or --set data.patient_pattern='^([^_/]+)_' for names such as "
        "p1_2.png; or, if every image is of another patient, --set data.one_image_per_patient=true"
    )
    raise DataError(problem, hint=hint)


def _patients_by_pattern(images: pd.Series, pattern: str) -> pd.Series:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        problem = f"data.patient_pattern = {pattern!r} is not a regular expression: {error}"
        raise DataError(problem, hint="for example '^([^_/]+)_'") from error
    if compiled.groups < 1:
        problem = f"data.patient_pattern = {pattern!r} has no group"
        raise DataError(problem, hint="put round brackets around the patient's part, for example '^([^_/]+)_'")
    found = images.map(lambda image: match.group(1) if (match := compiled.search(image)) else pd.NA).astype("string")
    if found.isna().any():
        problem = f"data.patient_pattern = {pattern!r} does not match {shortened(images[found.isna()])}"
        raise DataError(problem, hint="widen the pattern, or move these images away")
    return found


def _with_classes(manifest: Manifest, settings: DataSettings, *, labelled: bool) -> Manifest:
    names = manifest.frame["label"].dropna().unique()
    if labelled and len(names) < 2:
        problem = f"only one class: {names[0]}" if len(names) else "no image that has a label can be read"
        raise DataError(problem, hint="a classifier needs images of at least two classes")
    classes, reason = order_classes(map(str, names), settings) if len(names) else ((), "no labels")
    whole = manifest.with_frame(manifest.frame, classes=reason)
    return Manifest(whole.root, whole.frame, classes, whole.unreadable, whole.reasons)


def _scan_npz(data: Path, settings: DataSettings) -> Manifest:
    """Read the table of contents of a MedMNIST file: its splits are kept, its labels are the classes."""
    try:
        with np.load(data, allow_pickle=False) as arrays:
            splits = [name for name in NPZ_SPLITS if f"{name}_images" in arrays and f"{name}_labels" in arrays]
            frames = [_npz_rows(name, arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in splits]
    except (OSError, ValueError) as error:
        raise DataError(f"{data} cannot be read: {error}", hint="copy it again") from error
    if not frames:
        problem = f"{data} holds no train_images and train_labels"
        raise DataError(problem, hint="give a file in MedMNIST's format, or a folder of images")
    reasons = {
        "labels": f"labels and splits from {data.name}",
        "patient": "the file names no patients: every image is treated as another patient, images as independent",
    }
    manifest = Manifest(data, make_frame([]), reasons=reasons).with_frame(
        with_types(pd.concat(frames, ignore_index=True))
    )
    return _with_classes(manifest, settings, labelled=True)


def _npz_rows(split: str, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> pd.DataFrame:
    if labels.ndim > 1 and labels.shape[1] != 1:
        raise DataError(f"{split}_labels has {labels.shape[1]} columns", hint="one label per image is needed")
    number = np.arange(len(images))
    rows = make_frame([]).reindex(number)
    rows["image"], rows["frame"] = f"{split}_images", number
    rows["label"], rows["split"] = labels.reshape(-1).astype(str), split
    rows["patient"] = [f"{split}-{k}" for k in number]
    rows["rows"], rows["columns"], rows["bits"] = images.shape[1], images.shape[2], images.dtype.itemsize * 8
    rows["colour"], rows["photometric"], rows["syntax"] = images.ndim > 3, "grey" if images.ndim == 3 else "RGB", "npz"
    return rows
