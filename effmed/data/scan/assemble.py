"""Folders, label tables and headers → Manifest."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effmed.data.classes import order_classes
from effmed.data.pixels import Header, read_header, sniff
from effmed.data.records import PICTURE, Manifest, Unreadable, make_frame, with_types
from effmed.data.scan.labels import (
    SPLIT_NAMES,
    LabelTable,
    match_images,
    normalise_splits,
    one_row_per_image,
    read_labels,
)
from effmed.data.scan.medmnist import SUFFIX, read_npz_manifest
from effmed.data.scan.patients import find_patients
from effmed.errors import DataError, RecipeError, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from effmed.recipe import DataSettings

IMAGE_SUFFIXES = {".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
TEXT_SUFFIXES = {".csv", ".tsv", ".txt", ".json", ".md", ".xml", ".html", ".yaml", ".yml", ".log"}
NOT_IMAGES = {"dicomdir"}  # the index of a DICOM medium: DICOM by content, but no image (PS3.10)
HEADER_ATTRIBUTES = ("view", "sex", "laterality", "modality", "manufacturer", "scanner", "body_part")


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
        labelled: False for prediction: labels and patients are taken from table and headers where they are known and
            never missed, folders name no classes, and every image is kept.
        on_progress: Told ``(files read, files in all)``.

    Raises:
        DataError: There is no image, or labels or patients are missing or contradict each other.
        RecipeError: Settings are wrong by themselves, or a label table is given for an ``.npz`` file.
    """
    if data.suffix == SUFFIX and data.is_file():
        return _with_classes(_scan_npz(data, labels), settings, required=labelled)
    if not data.is_dir():
        problem = f"{data} is not a folder"
        raise DataError(problem, hint="name the folder that holds the images, or a MedMNIST .npz file")
    table = None if labels is None else read_labels(labels, settings)
    manifest = _scan_headers(data, settings, on_progress)
    if table is not None:
        manifest = _with_table(manifest, table, keep_all=not labelled)
    if labelled:
        check_unreadable(len(manifest) + len(manifest.unreadable), manifest.unreadable, settings)
        _check_any(manifest)
    if table is None and labelled:
        manifest = _with_folders(manifest)
    column = table.columns.get("patient") if table is not None else None
    patients = find_patients(manifest.frame, column, settings, required=labelled)
    manifest = manifest.with_frame(manifest.frame.assign(patient=patients.ids), patient=patients.reason)
    return _with_classes(manifest, settings, required=labelled)


def check_unreadable(n_images: int, unreadable: Sequence[Unreadable], settings: DataSettings) -> None:
    """Stop when more images are unreadable than ``data.max_unreadable_fraction`` allows.

    Args:
        n_images: All images, the unreadable ones included.
        unreadable: Those that cannot be read.
        settings: Holds the limit.

    Raises:
        DataError: Names the first ten with their reasons.
    """
    share = len(unreadable) / max(n_images, 1)
    if share <= settings.max_unreadable_fraction:
        return
    listed = shortened(f"{item.image} ({item.reason})" for item in unreadable)
    problem = f"{len(unreadable)} of {n_images} images cannot be read: {listed}"
    allowed = np.ceil(share * 100) / 100
    hint = f"{unreadable[0].hint}; or leave them out: --set data.max_unreadable_fraction={allowed:g}"
    raise DataError(problem, hint=hint)


def _check_any(manifest: Manifest) -> None:
    if len(manifest) == 0:
        problem = f"no image below {manifest.root} can be read"
        raise DataError(problem, hint="'effmed inspect' lists the reasons")


def _scan_npz(data: Path, labels: Path | None) -> Manifest:
    if labels is not None:
        problem = f"--labels {labels} does not go with {data}, which holds its labels itself"
        raise RecipeError(problem, hint="leave --labels out")
    return read_npz_manifest(data)


def _scan_headers(data: Path, settings: DataSettings, on_progress: Callable[[int, int], None] | None) -> Manifest:
    unreadable: list[Unreadable] = []
    files = list(_walk(data, unreadable))
    rows: list[dict[str, Any]] = []
    for done, path in enumerate(files, start=1):
        image = _name_of(path, data)
        try:
            header = _header_of(path, data, settings.max_megapixels)
            if header is not None:
                rows += [_row(image, frame, header) for frame in _frames(header, settings)]
        except DataError as error:
            unreadable.append(Unreadable(image, 0, error.problem, error.hint))
        if on_progress is not None:
            on_progress(done, len(files))
    if not rows and not unreadable:
        problem = f"no image below {data} ({len(files)} other files)" if files else f"no image below {data}"
        raise DataError(problem, hint="name a folder that holds DICOM, PNG, JPEG, TIFF or BMP files")
    return Manifest(data, make_frame(rows), unreadable=tuple(unreadable))


def _walk(root: Path, unreadable: list[Unreadable]) -> Iterator[Path]:
    """Yield everything below ``root`` that is neither hidden nor a folder, in order; no linked folder is entered."""

    def refused(error: OSError) -> None:
        folder = _name_of(Path(error.filename), root)
        reason = f"the folder cannot be opened ({error.strerror})"
        unreadable.append(Unreadable(folder, 0, reason, "allow reading: chmod -R u+rX"))

    for folder, folders, names in os.walk(root, followlinks=False, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _name_of(path: Path, root: Path) -> str:
    """Return the path relative to the root; bytes that are no text are written as escapes."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def _header_of(path: Path, root: Path, max_megapixels: float) -> Header | None:
    """Return the header of an image; None for a file that does not claim to be one.

    Raises:
        DataError: It claims to be an image, by name or content, and cannot be read.
    """
    suffix = path.suffix.lower()
    kind = "" if path.name.lower() in NOT_IMAGES else sniff(path)
    if not kind and suffix not in IMAGE_SUFFIXES:
        return None
    try:
        _check_file(path, root)
        _check_kind(path, kind)
        return read_header(path, max_megapixels=max_megapixels)
    except DataError:
        if suffix in TEXT_SUFFIXES:  # text may begin like an image: a table whose first column is BMI
            return None
        raise


def _check_file(path: Path, root: Path) -> None:
    """Refuse what must not be opened, or could not be named in a table.

    Raises:
        DataError: A link out of the root, no regular file, no permission, or a name that is not UTF-8.
    """
    inside = os.path.realpath(root)  # unlike resolve(), it bears links in a circle
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
        raise DataError("a link that leads out of the data folder", hint="copy the file itself into the data folder")
    if not path.exists():
        raise DataError("a link that leads nowhere", hint="remove it")
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError("not a regular file", hint="remove it")
    if not os.access(path, os.R_OK):
        raise DataError("no permission to read it", hint="allow reading: chmod u+r")
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError("its name is not UTF-8", hint="rename it") from error


def _check_kind(path: Path, kind: str) -> None:
    if not kind:
        problem = f"not an image, although it is called {path.suffix}"
        raise DataError(problem, hint="remove it, or copy the original again")


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
    identity = {"image": image, "frame": frame, "patient": header.patient, "study": header.study}
    known = {name: getattr(header, name) for name in (*HEADER_ATTRIBUTES, *PICTURE)}
    return {**identity, **known, "age": header.age_years}


def _with_table(manifest: Manifest, table: LabelTable, *, keep_all: bool) -> Manifest:
    """Join the label table; images that it does not name are left out, or kept without a label."""
    frame = manifest.frame
    known = {*frame["image"], *(item.image for item in manifest.unreadable)}
    files, how = match_images(table.rows["image"], table.path, manifest.root, known)
    absent = table.rows.loc[files.isna(), "image"]
    if len(absent):
        problem = f"{table.path} names {len(absent)} files that are not below {manifest.root}: {shortened(absent)}"
        raise DataError(problem, hint="give paths relative to the data folder, or correct --data")
    named = one_row_per_image(table.rows.assign(image=files), table.path).set_index("image")
    is_named = frame["image"].isin(named.index)
    rows = frame if keep_all else frame[is_named]
    joined = {column: _joined(rows, named, column) for column in named.columns}
    folders = _split_folders(rows["image"])
    by_folder = "split" not in joined and bool(folders.notna().all())
    joined["split"] = folders if by_folder else normalise_splits(joined.get("split", rows["split"]), str(table.path))
    unreadable = tuple(item for item in manifest.unreadable if keep_all or item.image in named.index)
    n_left = len(frame) - int(is_named.sum()) + len(manifest.unreadable) - len(unreadable)
    left = f"; {n_left} images that it does not name are {'not labelled' if keep_all else 'left out'}" if n_left else ""
    reason = f"labels from {table.columns['label']!r} of {table.path.name}, matched by {how}{left}"
    reason += "; splits from the folders train, val and test" if by_folder else ""
    return replace(manifest, unreadable=unreadable).with_frame(with_types(rows.assign(**joined)), labels=reason)


def _joined(rows: pd.DataFrame, named: pd.DataFrame, column: str) -> pd.Series:
    """Return the table's column for each image; attributes that it leaves empty stay what the header says."""
    values = rows["image"].map(named[column]).astype("string")
    return values if column in ("label", "split", "patient") else values.fillna(rows[column].astype("string"))


def _with_folders(manifest: Manifest) -> Manifest:
    """Read class, and split where there is one, from the folders that an image lies in."""
    folders = manifest.frame["image"].str.split("/").str[:-1]
    first = folders.str[0].astype("string")
    split = _split_folders(manifest.frame["image"])
    has_splits = bool(split.notna().all())
    if split.notna().any() and not has_splits:
        names = shortened(sorted(first[split.notna()].unique()))
        others = manifest.frame.loc[split.isna(), "image"]
        problem = f"{manifest.root} holds the folders {names}, but {len(others)} images lie beside: {shortened(others)}"
        raise DataError(problem, hint="put all images into train, val and test, or give --labels TABLE.csv")
    label = (folders.str[1] if has_splits else first).astype("string")
    missing = manifest.frame.loc[label.isna(), "image"]
    if len(missing):
        problem = f"{len(missing)} images have no label: {shortened(missing)}"
        hint = "put them into one folder per class, or give --labels TABLE.csv with path and label"
        raise DataError(problem, hint=hint)
    frame = manifest.frame.assign(label=label, split=split)
    how = "the folders inside train, val and test" if has_splits else "the first folder of each path"
    return manifest.with_frame(with_types(frame), labels=f"labels from {how}")


def _split_folders(images: pd.Series) -> pd.Series:
    """Return the split that the first folder of each path is called, NA where it is called otherwise."""
    first = images.str.extract(r"^([^/]+)/", expand=False)
    return first.str.lower().map(SPLIT_NAMES).astype("string")


def _with_classes(manifest: Manifest, settings: DataSettings, *, required: bool) -> Manifest:
    names = [str(name) for name in manifest.frame["label"].dropna().unique()]
    if required and len(names) < 2:
        hint = "a classifier needs images of at least two classes; name the folder above the class folders, or --labels"
        raise DataError(f"only one class below {manifest.root}: {names[0]}", hint=hint)
    if not names:
        return manifest.with_frame(manifest.frame, classes="no classes", labels="no labels")
    classes, reason = order_classes(names, settings)
    return replace(manifest, classes=classes, reasons={**manifest.reasons, "classes": reason})
