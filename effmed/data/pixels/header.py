"""What a file says of itself, without decoding its pixels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from effmed.data.pixels.dicom import GREY, check_size, read_dataset
from effmed.data.pixels.image import Header

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

YEARS_PER = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # the units of an Age String, PS3.5 table 6.2-1
AGE_MAX_YEARS = 120.0


def read_dicom_header(path: Path, max_megapixels: float) -> Header:
    """Read what the manifest keeps of a DICOM header.

    Raises:
        DataError: The file holds no pixels or impossible sizes.
    """
    dataset = read_dataset(path, max_megapixels)
    n_frames = check_size(dataset, max_megapixels)
    photometric = _text(dataset, "PhotometricInterpretation")
    return Header(
        kind="dicom",
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=n_frames,
        bits=int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 0),
        colour=photometric not in GREY or int(dataset.get("SamplesPerPixel", 1)) > 1,
        photometric=photometric,
        syntax=str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", "")),
        patient=_text(dataset, "PatientID"),
        study=_text(dataset, "StudyInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        instance=_text(dataset, "SOPInstanceUID"),
        modality=_text(dataset, "Modality"),
        manufacturer=_text(dataset, "Manufacturer"),
        scanner=_text(dataset, "ManufacturerModelName"),
        body_part=_text(dataset, "BodyPartExamined"),
        view=_text(dataset, "ViewPosition"),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        sex=_text(dataset, "PatientSex"),
        age_years=age_in_years(dataset.get("PatientAge")),
    )


def age_in_years(value: Any) -> float | None:  # noqa: ANN401  whatever the header holds
    """Read an Age String such as 042Y or 006M; None where it is none.

    Source:
        DICOM PS3.5 section 6.2, AS.
    """
    match = re.fullmatch(r"\s*(\d{1,3})([YMWD])\s*", str(value or ""))
    if match is None:
        return None
    years = int(match[1]) * YEARS_PER[match[2]]
    return years if years <= AGE_MAX_YEARS else None


def _text(dataset: Dataset, name: str) -> str:
    """Return an attribute as one line of text, without control characters."""
    return "".join(character for character in str(dataset.get(name) or "") if character.isprintable()).strip()
