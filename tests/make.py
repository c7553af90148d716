"""Builders: plain functions that make small files and folders for tests."""

import cv2
import numpy as np
import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


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
    """Write ``root/<prefix>/<class>/p<k>_<i>.png``: each patient of one class."""
    for c, name in enumerate(classes):
        for k in range(patients):
            for i in range(images):
                number = c * patients + k
                png(root / prefix / name / f"p{number}_{i}.png", seed=number * 100 + i)


def table(path, **columns):
    """Write a CSV label table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, index=False)
    return path
