"""Builders of DICOM files for tests: keyword arguments are elements."""

import zlib

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def dataset(pixels, **elements):
    """A secondary capture of integers ``(rows, columns)``, ``(frames, rows, columns)`` or ``(rows, columns, 3)``."""
    pixels = np.asarray(pixels)
    is_colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    bits = pixels.dtype.itemsize * 8
    made = Dataset()
    made.SOPClassUID = uid.SecondaryCaptureImageStorage
    made.SOPInstanceUID = "1.2.3"
    made.PatientID = "P1"
    made.Rows, made.Columns = pixels.shape[:2] if is_colour else pixels.shape[-2:]
    made.SamplesPerPixel = 3 if is_colour else 1
    made.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    if is_colour:
        made.PlanarConfiguration = 0
    if pixels.ndim == 3 and not is_colour:
        made.NumberOfFrames = len(pixels)
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    set_elements(made, elements)
    if "BitsStored" in elements and "HighBit" not in elements:
        made.HighBit = made.BitsStored - 1
    return made


def set_elements(made, elements):
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)


def item(**elements):
    """A sequence of one item."""
    inside = Dataset()
    set_elements(inside, elements)
    return Sequence([inside])


def lut(first, entries, *, bits=16, value=None, data_vr="US"):
    """A lookup table item; ``value`` overrides how the entries are stored."""
    inside = Dataset()
    inside.add_new(0x00283002, "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    inside.add_new(0x00283006, data_vr, list(entries) if value is None else value)
    return Sequence([inside])


def dicom(path, pixels, *, syntax=uid.ExplicitVRLittleEndian, streams=None, **elements):
    """Write a file; ``streams`` are the codestreams of its frames, where it is compressed."""
    made = dataset(pixels, **elements)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    is_big = syntax == uid.ExplicitVRBigEndian
    if streams is not None:
        made.PixelData = encapsulate(streams)
        made["PixelData"].is_undefined_length = True
        made["PixelData"].VR = "OB"
    elif "FloatPixelData" not in made:
        values = np.asarray(pixels)
        values = values.astype(values.dtype.newbyteorder(">" if is_big else "<"))
        made.PixelData = values.tobytes() + bytes(values.nbytes % 2)
        made["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    if not uid.UID(syntax).is_transfer_syntax:  # younger than pydicom
        made.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    made.save_as(path, enforce_file_format=True)
    return relabel(path, syntax)


def relabel(path, syntax):
    """State another transfer syntax over the same bytes."""
    meta = pydicom.filereader.read_file_meta_info(path)
    data = path.read_bytes()
    start = 144 + meta.FileMetaInformationGroupLength
    meta.TransferSyntaxUID = syntax
    path.write_bytes(bytes(128) + b"DICM")
    with path.open("ab") as file:
        pydicom.filewriter.write_file_meta_info(file, meta)
        file.write(data[start:])
    return path


def deflated(data):
    """Raw deflate, as DICOM wants it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()
