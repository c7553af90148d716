"""Builders: plain functions that make small files and folders for tests."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from effmed.data.records import Manifest, make_frame, with_types
from effmed.data.scan.label_sets import label_texts


def png(path, *, size=(12, 16), seed=0, bits=8):
    """Write a grey PNG of noise over the whole range of its bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels = np.random.default_rng(seed).integers(0, 1 << bits, size).astype(dtype)
    cv2.imwrite(str(path), pixels)
    return pixels


def dicom(path, *, patient="P1", study="1.2.3", pixels=None, frames=1, **attributes):
    """Write an uncompressed 12-bit MONOCHROME2 radiograph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientID, dataset.StudyInstanceUID, dataset.Modality = patient, study, "CR"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = pixels.astype("<u2").tobytes() * frames
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


def class_folders(root, *, classes=("normal", "sick"), patients=10, images=1, prefix=""):
    """Write ``root/<prefix>/<class>/p<k>_<i>.png``: each patient of one class; returns ``root``."""
    for c, name in enumerate(classes):
        for k in range(patients):
            for i in range(images):
                number = c * patients + k
                png(root / prefix / name / f"p{number}_{i}.png", seed=number * 100 + i)
    return root


def table(file, /, **columns):
    """Write a CSV label table."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(file, index=False)
    return file


def npz(path, *, size=(6, 5), n=(8, 4, 4), colour=False):
    """Write a file in MedMNIST's format with labels 0 and 1 in turn; returns its arrays."""
    chance = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(("train", "val", "test"), n, strict=True):
        shape = (count, *size, 3) if colour else (count, *size)
        arrays[f"{split}_images"] = chance.integers(0, 256, shape).astype(np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, np.newaxis]
    np.savez(path, **arrays)
    return arrays


def manifest(*, labels, patients=None, splits=None, root=Path("data")):
    """A manifest of images that do not exist, one per label; each of another patient unless said otherwise."""
    number = range(len(labels))
    rows = make_frame([]).reindex(number)
    rows = rows.assign(image=[f"{k}.png" for k in number], label=list(labels), rows=12, columns=16, bits=8)
    rows["patient"] = [f"p{k}" for k in number] if patients is None else list(patients)
    rows["split"] = pd.NA if splits is None else list(splits)
    return Manifest(root, with_types(rows), classes=tuple(sorted(set(labels))))


def several(labels, *, patients=None, splits=None):
    """A manifest of several labels, name to "1", "0", "-1" or None of each image; the images do not exist."""
    columns = pd.DataFrame({f"label_{name}": pd.array(cells, dtype="string") for name, cells in labels.items()})
    plain = manifest(labels=label_texts(columns).fillna(""), patients=patients, splits=splits)
    return replace(plain, frame=with_types(plain.frame.join(columns)), classes=tuple(labels))
