"""What a DICOM object says of itself: a small parser for plain headers, pydicom for all others; no pixel is read."""

from __future__ import annotations

import datetime
import re
import struct
from typing import TYPE_CHECKING, BinaryIO

from effmed.data.pixels.dicom.dataset import (
    EXPLICIT_LITTLE,
    GREY,
    IMPLICIT_LITTLE,
    LONG_LENGTH_VRS,
    META_LIMIT_BYTES,
    NATIVE,
    PIXEL_KEYWORDS,
    UNDEFINED_LENGTH,
    clean,
    meta_syntax,
    open_dicom,
    text,
)
from effmed.data.pixels.image import Header, check_size
from effmed.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WHOLE, TEXT = "whole", "text"
WANTED = {
    0x00080016: ("SOPClassUID", TEXT),
    0x00080018: ("SOPInstanceUID", TEXT),
    0x00080020: ("StudyDate", TEXT),
    0x00080060: ("Modality", TEXT),
    0x00080070: ("Manufacturer", TEXT),
    0x00081090: ("ManufacturerModelName", TEXT),
    0x00100020: ("PatientID", TEXT),
    0x00100030: ("PatientBirthDate", TEXT),
    0x00100040: ("PatientSex", TEXT),
    0x00101010: ("PatientAge", TEXT),
    0x00180015: ("BodyPartExamined", TEXT),
    0x00185101: ("ViewPosition", TEXT),
    0x0020000D: ("StudyInstanceUID", TEXT),
    0x0020000E: ("SeriesInstanceUID", TEXT),
    0x00200060: ("Laterality", TEXT),
    0x00200062: ("ImageLaterality", TEXT),
    0x00280002: ("SamplesPerPixel", WHOLE),
    0x00280004: ("PhotometricInterpretation", TEXT),
    0x00280008: ("NumberOfFrames", TEXT),
    0x00280010: ("Rows", WHOLE),
    0x00280011: ("Columns", WHOLE),
    0x00280100: ("BitsAllocated", WHOLE),
    0x00280101: ("BitsStored", WHOLE),
}
NEEDED = ("SOPClassUID", "Rows", "Columns")  # without them the small parser does not trust itself
FIRST_READ_BYTES = 16384  # holds the header of a plain radiograph
SHORT_LENGTH_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())  # PS3.5 7.1.2
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 7.5
LEVELS, LEVEL_ENDS = (ITEM, ITEM_END, SEQUENCE_END), (ITEM_END, SEQUENCE_END)
EXPLICIT, UINT32 = struct.Struct("<HH2sH"), struct.Struct("<I")  # tag, VR, short length; long length
ELEMENT_BYTES = 12  # of the longest form before the value
ESCAPE = b"\x1b"  # begins another character set, whose bytes may look like ASCII (PS3.5 6.1.2.5.3)
DAYS_PER_YEAR = 365.25
YEARS_PER = {"Y": 1.0, "M": 1 / 12, "W": 7 / DAYS_PER_YEAR, "D": 1 / DAYS_PER_YEAR}  # PS3.5 table 6.2-1, Age String
OLDEST_YEARS = 125.0  # nobody was older; 999Y stands for unknown
MAX_AGE_YEARS = 90.0  # higher ages identify a person (HIPAA 45 CFR 164.514: all above 89 are one group)


def read_dicom_header(path: Path, max_megapixels: float) -> Header:
    """Read what the manifest keeps of a DICOM header.

    Raises:
        DataError: The file holds no pixels or impossible sizes.
    """
    with path.open("rb") as file:
        values = scan_header(file) or _read_with_pydicom(file)
    rows, columns = (_whole(values, keyword) for keyword in ("Rows", "Columns"))
    frames = check_size(rows, columns, _whole(values, "NumberOfFrames", 1), max_megapixels)
    photometric = values.get("PhotometricInterpretation", "").upper() or GREY[1]
    return Header(
        kind="dicom",
        rows=rows,
        columns=columns,
        frames=frames,
        bits=_whole(values, "BitsStored", 0) or _whole(values, "BitsAllocated"),
        colour=photometric not in GREY,
        photometric=photometric,
        syntax=values["syntax"],
        patient=values.get("PatientID", ""),
        study=values.get("StudyInstanceUID", ""),
        series=values.get("SeriesInstanceUID", ""),
        instance=values.get("SOPInstanceUID", ""),
        modality=values.get("Modality", ""),
        manufacturer=values.get("Manufacturer", ""),
        scanner=values.get("ManufacturerModelName", ""),
        body_part=values.get("BodyPartExamined", ""),
        view=values.get("ViewPosition", ""),
        laterality=values.get("ImageLaterality", "") or values.get("Laterality", ""),
        sex=values.get("PatientSex", ""),
        age_years=age_in_years(values),
    )


def age_in_years(values: Mapping[str, str]) -> float | None:
    """Return the patient's age at the study, at most 90; None where the header does not tell.

    Args:
        values: PatientAge such as 042Y or 006M, else PatientBirthDate and StudyDate.

    Source:
        DICOM PS3.5 section 6.2, AS and DA.
    """
    match = re.fullmatch(r"(\d{1,3})([YMWD])", values.get("PatientAge", ""))
    if match:
        years = int(match[1]) * YEARS_PER[match[2]]
        return min(years, MAX_AGE_YEARS) if years <= OLDEST_YEARS else None
    born, seen = (_date(values.get(keyword, "")) for keyword in ("PatientBirthDate", "StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return min((seen - born).days / DAYS_PER_YEAR, MAX_AGE_YEARS)


def scan_header(file: BinaryIO) -> dict[str, str] | None:
    """Parse a plain little-endian header without pydicom, about fifteen times as fast.

    Returns:
        Keyword → text of what was found, and ``syntax``; None where anything is unusual, so that pydicom must decide.
    """
    data, size = b"", FIRST_READ_BYTES
    file.seek(0)
    while piece := file.read(size - len(data)):
        data += piece
        syntax, start = meta_syntax(data[:META_LIMIT_BYTES])
        if syntax != IMPLICIT_LITTLE and (not syntax or syntax in set(NATIVE) - {EXPLICIT_LITTLE}):
            return None
        found = _parse(data, start, is_explicit=syntax != IMPLICIT_LITTLE)
        if found is not None:
            return None if any(keyword not in found for keyword in NEEDED) else found | {"syntax": syntax}
        size *= 8
        if size > META_LIMIT_BYTES * 16:
            return None
    return None


def _parse(data: bytes, at: int, *, is_explicit: bool) -> dict[str, str] | None:
    """Collect wanted elements up to the pixel data; None where the bytes end before, or are not well-formed."""
    found: dict[str, str] = {}
    depth, last, end = 0, 0, len(data) - ELEMENT_BYTES
    while at <= end:
        group, number, vr, short = EXPLICIT.unpack_from(data, at)
        tag = group << 16 | number
        if tag in PIXEL_KEYWORDS and not depth:
            return found
        start, length = (
            _place(data, at, tag, vr, short) if is_explicit else (at + 8, UINT32.unpack_from(data, at + 4)[0])
        )
        if start < 0:
            return None
        if depth:
            depth -= tag in LEVEL_ENDS
        elif tag <= last or (tag in WANTED and not _keep(found, tag, data[start : start + length])):
            return None
        else:
            last = tag
        if length == UNDEFINED_LENGTH:  # a level opens; what is inside is walked through
            depth, length = depth + 1, 0
        at = start + length
    return None


def _place(data: bytes, at: int, tag: int, vr: bytes, short: int) -> tuple[int, int]:
    """Return start and length of an explicit element's value; the start is negative where it is not well-formed."""
    if vr in SHORT_LENGTH_VRS:
        return at + 8, short
    if tag in LEVELS:
        return at + 8, UINT32.unpack_from(data, at + 4)[0]
    length = UINT32.unpack_from(data, at + 8)[0]
    is_known = vr in LONG_LENGTH_VRS and (length != UNDEFINED_LENGTH or vr == b"SQ")
    return at + ELEMENT_BYTES if is_known else -1, length


def _keep(found: dict[str, str], tag: int, value: bytes) -> bool:
    """Decode a value; False where only pydicom knows how."""
    keyword, kind = WANTED[tag]
    if kind == WHOLE:
        if len(value) != 2:
            return False
        found[keyword] = str(int.from_bytes(value, "little"))
        return True
    if not value.isascii() or ESCAPE in value:
        return False
    first = value.decode("ascii").partition("\\")[0].strip("\0 ")
    found[keyword] = first if first.isprintable() else clean(first)
    return True


def _read_with_pydicom(file: BinaryIO) -> dict[str, str]:
    opened = open_dicom(file)
    found = {"syntax": opened.syntax}
    for keyword, kind in WANTED.values():
        number = opened.dataset.get(keyword, "")
        # Rows of two values stay two, so that they are refused; of several texts the first counts.
        found[keyword] = text(opened.dataset, keyword) if kind == TEXT else str(number)
    return found


def _whole(values: Mapping[str, str], keyword: str, absent: int | None = None) -> int:
    value = values.get(keyword, "")
    if not value and absent is not None:
        return absent
    try:
        return int(value)
    except ValueError:
        raise DataError(f"{keyword} is missing or not one number", hint="export the file again") from None


def _date(value: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(value) if re.fullmatch(r"\d{8}", value) else None
    except ValueError:
        return None
