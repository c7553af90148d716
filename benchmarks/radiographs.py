"""What the benchmarks of ingestion share: made-up radiographs, and two ways measured in turns."""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import cv2
import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from effmed.data.pixels import Preprocessing, preprocess, read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SIDE, TARGET = 2048, 380  # pixels along a side, as stored and as EfficientNet-B4 is shown them
BITS, FULL_RANGE = 16, 65535
FIELD_SIDES = (4, 8, 16, 32, 64, 128, 256, 512)  # scales of the made-up radiograph: grid points along a side
TEXTS = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "SOPClassUID": uid.DigitalXRayImageStorageForPresentation,
    **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "20200102"),
    **dict.fromkeys(("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), "101112.000"),
    "Modality": "DX",
    "PresentationIntentType": "FOR PRESENTATION",
    "Manufacturer": "Maker of X-Rays",
    "InstitutionName": "Hospital",
    "StationName": "ROOM1",
    "StudyDescription": "Chest 2 views",
    "SeriesDescription": "PA",
    "ManufacturerModelName": "Ray 1",
    "PatientName": "Nobody^A",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
    "PatientAge": "060Y",
    "BodyPartExamined": "CHEST",
    "KVP": "125",
    "DeviceSerialNumber": "1234",
    "SoftwareVersions": "1.0",
    "ProtocolName": "Chest PA",
    "DistanceSourceToDetector": "1800",
    "ExposureTime": "5",
    "XRayTubeCurrent": "200",
    "ImagerPixelSpacing": [0.143, 0.143],
    "ViewPosition": "PA",
    "DetectorType": "SCINTILLATOR",
    **dict.fromkeys(("StudyID", "SeriesNumber", "InstanceNumber"), "1"),
    "PatientOrientation": ["L", "F"],
    "ImageLaterality": "U",
    "BurnedInAnnotation": "NO",
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": 1,
    "WindowCenter": "30000",
    "WindowWidth": "40000",
    "RescaleIntercept": "-1000",
    "RescaleSlope": "1",
    "RescaleType": "US",
    "LossyImageCompression": "00",
    "PresentationLUTShape": "INVERSE",
}


@dataclass(frozen=True)
class Turns:
    """Two ways to do the same, measured in turns.

    Attributes:
        ours_s: Median CPU seconds of effmed.
        other_s: Median CPU seconds of the other way.
        ratios: Seconds of the other way divided by those of effmed, turn by turn.
    """

    ours_s: float
    other_s: float
    ratios: tuple[float, ...]

    def __str__(self) -> str:
        """Median ratio, with the smallest and the largest."""
        return f"{statistics.median(self.ratios):.1f} x ({min(self.ratios):.1f} to {max(self.ratios):.1f})"


def take_turns(ours: Callable[[], object], other: Callable[[], object], n_turns: int) -> Turns:
    """Measure two ways in turns, after one that does not count."""
    pairs = [(_cpu_seconds(ours), _cpu_seconds(other)) for _ in range(n_turns + 1)][1:]
    ours_s, other_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Turns(ours_s, other_s, tuple(theirs / own for own, theirs in pairs))


def _cpu_seconds(work: Callable[[], object]) -> float:
    def spent() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    start = spent()
    work()
    return spent() - start


def read_with_effmed(path: Path, spec: Preprocessing) -> NDArray[np.generic]:
    """Return the pixels that a network is shown."""
    image = read_image(path, 0, window=spec.window, max_megapixels=spec.max_megapixels, enough=spec.enough)
    return preprocess(image, spec)


@contextmanager
def temporary() -> Iterator[Path]:
    """Return an empty folder; beside it lies whatever effmed remembers meanwhile, and its key."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "data").mkdir()
        own = {"EFFMED_CACHE": f"{place}/cache", "EFFMED_KEY": f"{place}/pseudonyms.key"}
        with mock.patch.dict(os.environ, own):
            yield Path(place) / "data"


def made_up(side: int) -> NDArray[np.uint16]:
    """Return a picture with less contrast the finer the scale, as in radiographs, and a little noise."""
    chance = np.random.default_rng(0)
    field = chance.standard_normal((side, side), dtype=np.float32) / side
    for points in FIELD_SIDES:
        grid = chance.standard_normal((points, points), dtype=np.float32) / points
        field += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(field, None, 0, FULL_RANGE, cv2.NORM_MINMAX).astype(np.uint16)


def write_radiograph(
    path: Path, pixels: NDArray[np.uint16], *, number: int = 0, is_jpeg_2000: bool = False, **elements: object
) -> Path:
    """Write a DX image; every patient has two views, each a series."""
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "R-10206", "SNM3", "postero-anterior"
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless if is_jpeg_2000 else uid.ExplicitVRLittleEndian
    identity = {
        "PatientID": f"PAT{number // 2:05}",
        "AccessionNumber": f"A{number // 2:05}",
        "StudyInstanceUID": f"1.2.826.0.1.3680043.8.498.1{number // 2:05}",
        "SeriesInstanceUID": f"1.2.826.0.1.3680043.8.498.2{number:05}",
        "SOPInstanceUID": f"1.2.826.0.1.3680043.8.498.3{number:05}",
    }
    size = {"Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 1, "PixelRepresentation": 0}
    bits = {"BitsAllocated": BITS, "BitsStored": BITS, "HighBit": BITS - 1, "PhotometricInterpretation": "MONOCHROME2"}
    for keyword, value in {**TEXTS, **identity, **size, **bits, **elements}.items():
        setattr(made, keyword, value)
    made.ViewCodeSequence = Sequence([view])
    options = {"level": 0, "codecformat": "j2k", "reversible": True}
    made.PixelData = encapsulate([imagecodecs.jpeg2k_encode(pixels, **options)]) if is_jpeg_2000 else pixels.tobytes()
    made["PixelData"].VR = "OB" if is_jpeg_2000 else "OW"
    made.save_as(path, enforce_file_format=True)
    return path
