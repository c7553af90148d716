"""Folders, label tables and headers → Manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from effmed.data.classes import check_task, order_classes
from effmed.data.pixels import PIXELS_PER_MEGAPIXEL, check_size
from effmed.data.pseudonyms import make_pseudonyms
from effmed.data.records import COLUMNS, LABEL, NPZ_SUFFIX, Manifest, Unreadable, label_columns, with_types
from effmed.data.scan.headers import read_headers
from effmed.data.scan.label_sets import label_texts, without_rare
from effmed.data.scan.labels import (
    SPLIT_NAMES,
    LabelTable,
    match_images,
    normalise_splits,
    one_row_per_image,
    read_labels,
)
from effmed.data.scan.medmnist import read_npz_manifest
from effmed.data.scan.patients import find_patients
from effmed.errors import DataError, RecipeError, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from effmed.data.pseudonyms import Pseudonyms
    from effmed.recipe import DataSettings

Progress: TypeAlias = "Callable[[int, int], None] | None"


def scan(
    data: Path,
    labels: Path | None,
    settings: DataSettings,
    *,
    labelled: bool = True,
    on_progress: Progress = None,
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
    if data.suffix == NPZ_SUFFIX and data.is_file():
        return _with_classes(_scan_npz(data, labels), settings, required=labelled)
    if not data.is_dir():
        problem = f"{data} is not a folder"
        raise DataError(problem, hint="name the folder that holds the images, or a MedMNIST .npz file")
    table = None if labels is None else read_labels(labels, settings)
    pseudonyms = make_pseudonyms(keep_ids=settings.keep_ids)
    manifest = _scan_headers(data, settings, pseudonyms, on_progress)
    if table is not None:
        manifest = _with_table(manifest, _hidden(table, pseudonyms), keep_all=not labelled)
    if labelled:
        check_unreadable(len(manifest) + len(manifest.unreadable), manifest.unreadable, settings)
        _check_any(manifest)
    if table is None and labelled:
        manifest = _with_folders(manifest)
    column = table.columns.get("patient") if table is not None else None
    patients = find_patients(manifest.frame, column, settings, required=labelled)
    ids = patients.ids if patients.is_hidden else _pseudonymised(patients.ids, "patient", pseudonyms)
    manifest = manifest.with_frame(manifest.frame.assign(patient=ids), patient=patients.reason)
    return _with_classes(manifest, settings, required=labelled)


def _hidden(table: LabelTable, pseudonyms: Pseudonyms) -> LabelTable:
    """Return a label table whose patients and studies are pseudonyms."""
    rows = table.rows
    known = {name: _pseudonymised(rows[name], name, pseudonyms) for name in ("patient", "study") if name in rows}
    return replace(table, rows=rows.assign(**known))


def _pseudonymised(ids: pd.Series, kind: str, pseudonyms: Pseudonyms) -> pd.Series:
    return ids.map({value: pseudonyms.of(kind, str(value)) for value in ids.dropna().unique()}).astype("string")


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


def _scan_headers(data: Path, settings: DataSettings, pseudonyms: Pseudonyms, on_progress: Progress) -> Manifest:
    found = read_headers(data, pseudonyms, on_progress=on_progress)
    if found.frame.empty and not found.refused:
        problem = f"no image below {data} ({found.n_files} other files)" if found.n_files else f"no image below {data}"
        raise DataError(problem, hint="name a folder that holds DICOM, PNG, JPEG, TIFF or BMP files")
    rows, refused = _frames(found.frame, settings)
    rows = rows.rename(columns={"age_years": "age"}).reindex(columns=list(COLUMNS))
    return Manifest(data, with_types(rows), unreadable=(*found.refused, *refused))


def _frames(files: pd.DataFrame, settings: DataSettings) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Make one row per image that a file means: ``frames`` gives way to ``frame``.

    Returns:
        The rows; and the files that are too large, or whose frames have no declared meaning.
    """
    megapixels = files["rows"] * files["columns"] * files["frames"] / PIXELS_PER_MEGAPIXEL
    is_unclear = (files["frames"] > 1) & (settings.frames == "error")
    doubtful = files[(megapixels > settings.max_megapixels) | is_unclear]
    refused = [
        _refused_file(str(image), (int(rows), int(columns), int(frames)), settings)
        for image, rows, columns, frames in doubtful[["image", "rows", "columns", "frames"]].itertuples(index=False)
    ]
    kept = files.drop(doubtful.index)
    if settings.frames == "all":
        repeated = kept.loc[kept.index.repeat(kept["frames"])]
        return repeated.assign(frame=repeated.groupby(level=0).cumcount()), refused
    return kept.assign(frame=kept["frames"] // 2 if settings.frames == "middle" else 0), refused


def _refused_file(image: str, size: tuple[int, int, int], settings: DataSettings) -> Unreadable:
    try:
        frames = check_size(*size, settings.max_megapixels)
    except DataError as error:
        return Unreadable(image, 0, error.problem, error.hint)
    hint = "say what they mean: --set data.frames=first (or middle, or all)"
    return Unreadable(image, 0, f"has {frames} frames", hint)


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
    told = {"labels": reason} | ({"task": table.task} if table.task else {})
    return replace(manifest, unreadable=unreadable).with_frame(with_types(rows.assign(**joined)), **told)


def _joined(rows: pd.DataFrame, named: pd.DataFrame, column: str) -> pd.Series:
    """Return the table's column for each image; attributes that it leaves empty stay what the header says."""
    values = rows["image"].map(named[column]).astype("string")
    is_own = column in ("label", "split", "patient") or column.startswith(LABEL)
    return values if is_own else values.fillna(rows[column].astype("string"))


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
    if manifest.is_multilabel:
        return _with_labels(manifest, settings)
    names = [str(name) for name in manifest.frame["label"].dropna().unique()]
    if required and len(names) < 2:
        hint = "a classifier needs images of at least two classes; name the folder above the class folders, or --labels"
        raise DataError(f"only one class below {manifest.root}: {names[0]}", hint=hint)
    if not names:
        return manifest.with_frame(manifest.frame, classes="no classes", labels="no labels")
    classes, reason = order_classes(names, settings)
    if required:
        check_task(classes, settings)
    task = "binary" if len(classes) == 2 else "multiclass"
    said = f"task {task}: every image is of one of {len(classes)} classes (data.task)"
    return replace(manifest, classes=classes, reasons={**manifest.reasons, "classes": reason, "task": said})


def _with_labels(manifest: Manifest, settings: DataSettings) -> Manifest:
    """Take the labels that enough images have."""
    if settings.positive_class != "auto":
        problem = f"data.positive_class = {settings.positive_class!r}, but labels do not exclude each other"
        raise DataError(problem, hint="leave it out, or --set data.task=binary where every image has one class")
    columns = label_columns(manifest.frame)
    names = [column.removeprefix(LABEL) for column in columns]
    kept, reason = without_rare(names, (manifest.frame[columns] == "1").sum(), settings)
    rare = [LABEL + name for name in names if name not in kept]
    frame = manifest.frame.drop(columns=rare)
    if rare:
        frame["label"] = label_texts(frame[label_columns(frame)])
    return replace(manifest, classes=kept).with_frame(frame, classes=reason)
