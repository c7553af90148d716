"""Make the sample data: synthetic chest radiographs as 12-bit DICOM, and their label table.

Run: python sample_data/make.py [--out DIR]

Everything is drawn from one seed; no part of any real radiograph is used. Two classes: ``clear`` and ``opacity``,
whose only sign is a faint, irregular opacity somewhere in a lung. Everything else (view, sex, age, photometric
interpretation, compression, window) is dealt out evenly inside each class, so that nothing but the picture tells it.

A picture is drawn in chest coordinates: x from -1 (left edge) to 1 (right edge), y from -1 (top) to 1 (bottom);
u = |x| is the distance from the midline. A brightness of 0 is air, about 1 is bone over soft tissue.
"""

from __future__ import annotations

import argparse
import csv
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from scipy import ndimage
from scipy.special import expit

Picture = NDArray[np.float64]
Item = TypeVar("Item")

SEED = 20240
SIZE = 240  # pixels, both ways
PIXEL_SPACING_MM = 1.6  # 38 cm over the picture, as a chest cassette has
BEND_PX = 2.5  # standard deviation of the shift of a point from where the drawing puts it
LARGEST_VALUE = 2**12 - 1  # 12 bits stored
PATIENTS = {"clear": 60, "opacity": 40}
STREAMS = {"deal": 0, "anatomy": 1, "opacity": 2, "acquisition": 3}  # separate random numbers for separate purposes
NAMESPACE = uuid.UUID("4f1c0d3e-7a52-4a8e-9b39-0c6f6d0e5a11")  # any fixed one: UIDs must be the same each time

IMAGES_SHARES = {1: 0.38, 2: 0.35, 3: 0.2, 4: 0.07}
VIEW_SHARES = {"PA": 0.65, "AP": 0.35}
SEX_SHARES = {"F": 0.5, "M": 0.5}
PHOTOMETRIC_SHARES = {"MONOCHROME2": 0.7, "MONOCHROME1": 0.3}
SYNTAX_SHARES = {JPEG2000Lossless: 0.89, RLELossless: 0.07, ExplicitVRLittleEndian: 0.04}  # the folder stays small
WINDOW_SHARES = {True: 0.6, False: 0.4}
YOUNGEST, OLDEST = 20, 90  # years
FIELDS = ("path", "label", "patient_id", "view", "sex", "age")


@dataclass(frozen=True)
class Patient:
    """Who is imaged; ``number`` says nothing about the label."""

    number: int
    label: str
    sex: str
    age: int
    images: int

    @property
    def identifier(self) -> str:
        """The patient's identifier, as in the header and the label table."""
        return f"P{self.number:03d}"


@dataclass(frozen=True)
class Acquisition:
    """One image of one patient: ``number`` counts from 1 inside the patient."""

    patient: Patient
    number: int
    view: str
    photometric: str
    syntax: UID
    windowed: bool

    @property
    def path(self) -> str:
        """Where the file is, relative to the folder of the label table."""
        return f"images/p{self.patient.number:03d}_{self.number}.dcm"


@dataclass(frozen=True)
class Anatomy:
    """What differs from patient to patient, in chest coordinates."""

    lung_width: float
    lung_top: float
    diaphragm: float
    heart_width: float
    heart_centre: float
    rib_spacing: float
    rib_start: float
    rib_slope: float
    rib_brightness: float
    soft_tissue: float
    stomach_gas: float


# ---------------------------------------------------------------- who is imaged, and how


def stream(purpose: str, *numbers: int) -> np.random.Generator:
    """Random numbers of one purpose (and patient, and image), independent of all others."""
    return np.random.default_rng([SEED, STREAMS[purpose], *numbers])


def dealt(rng: np.random.Generator, shares: dict[Item, float], count: int) -> list[Item]:
    """``count`` items in random order whose shares are kept as exactly as whole numbers can."""
    edges = np.round(np.cumsum(list(shares.values())) * count).astype(int)
    items = list(shares)
    ordered = [items[int(np.searchsorted(edges, place, side="right"))] for place in range(count)]
    return [ordered[place] for place in rng.permutation(count)]


def patients() -> list[Patient]:
    """All patients in the order of their numbers; sex, age and number of images are alike in both classes."""
    rng = stream("deal", 0)
    numbers = iter(rng.permutation(sum(PATIENTS.values())) + 1)
    found = []
    for label, count in PATIENTS.items():
        ages = rng.permutation(np.linspace(YOUNGEST, OLDEST, count).astype(int))
        sexes, images = dealt(rng, SEX_SHARES, count), dealt(rng, IMAGES_SHARES, count)
        found += [
            Patient(int(next(numbers)), label, sex, int(age), n)
            for sex, age, n in zip(sexes, ages, images, strict=True)
        ]
    return sorted(found, key=lambda patient: patient.number)


def acquisitions() -> list[Acquisition]:
    """All images in the order of their paths; the technique is alike in both classes."""
    rng = stream("deal", 1)
    everyone = patients()
    found = []
    for label in PATIENTS:
        wanted = [(p, n) for p in everyone if p.label == label for n in range(1, p.images + 1)]
        techniques = zip(
            dealt(rng, VIEW_SHARES, len(wanted)),
            dealt(rng, PHOTOMETRIC_SHARES, len(wanted)),
            dealt(rng, SYNTAX_SHARES, len(wanted)),
            dealt(rng, WINDOW_SHARES, len(wanted)),
            strict=True,
        )
        found += [Acquisition(p, n, *technique) for (p, n), technique in zip(wanted, techniques, strict=True)]
    return sorted(found, key=lambda one: one.path)


def anatomy_of(patient: Patient) -> Anatomy:
    """The patient's build; the label has no part in it."""
    rng = stream("anatomy", patient.number)
    return Anatomy(
        lung_width=rng.uniform(0.27, 0.33) + (0.015 if patient.sex == "M" else 0.0),
        lung_top=rng.uniform(-0.84, -0.74),
        diaphragm=rng.uniform(0.46, 0.62),
        heart_width=rng.uniform(0.24, 0.33) + 0.0005 * (patient.age - YOUNGEST),
        heart_centre=rng.uniform(0.07, 0.15),
        rib_spacing=rng.uniform(0.15, 0.19),
        rib_start=rng.uniform(0.0, 1.0),
        rib_slope=rng.uniform(0.25, 0.55),
        rib_brightness=rng.uniform(0.05, 0.09),
        soft_tissue=rng.uniform(0.0, 0.10) + (0.05 if patient.sex == "F" else 0.0),
        stomach_gas=rng.uniform(0.0, 0.25),
    )


# ---------------------------------------------------------------- the picture


def chest_coordinates() -> tuple[Picture, Picture]:
    """The x and y of every pixel, each of shape (SIZE, SIZE) in [-1, 1]."""
    axis = np.linspace(-1.0, 1.0, SIZE)
    x, y = np.meshgrid(axis, axis)
    return x, y


X, Y = chest_coordinates()
U = np.abs(X)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], softness: float = 0.12) -> Picture:
    """A filled ellipse with a soft edge: 1 inside, 0 outside."""
    reach = ((X - centre[0]) / radii[0]) ** 2 + ((Y - centre[1]) / radii[1]) ** 2
    return np.asarray(expit((1.0 - reach) / softness))


def ridge(distance: Picture, width: float) -> Picture:
    """A soft line: 1 where ``distance`` is 0, falling off over ``width``."""
    return np.asarray(np.exp(-((distance / width) ** 2)))


def cloud(rng: np.random.Generator, blur: float) -> Picture:
    """A smooth random field with mean 0 and standard deviation 1; ``blur`` in pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), blur, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def torso(anatomy: Anatomy) -> Picture:
    """Soft tissue: neck, shoulders, trunk and, below the diaphragm, the denser abdomen."""
    half_width = 0.84 + 0.3 * expit(-(Y + 0.45) / 0.06)
    shoulders = expit((Y + 0.98 - 0.32 * U**1.7) / 0.02)
    neck = expit((0.22 - U) / 0.02)
    body = expit((half_width - U) / 0.015) * np.maximum(shoulders, neck)
    abdomen = 0.12 * expit((Y - anatomy.diaphragm - 0.1) / 0.06)
    breasts = anatomy.soft_tissue * (ellipse((-0.48, 0.36), (0.3, 0.3), 0.3) + ellipse((0.48, 0.36), (0.3, 0.3), 0.3))
    return np.asarray(body * (0.66 - 0.18 * U**2 + abdomen + breasts))


def lungs(anatomy: Anatomy, view: str) -> Picture:
    """Both lungs, 1 inside; the film from the front (AP) is mostly taken lying, with less breath."""
    base = anatomy.diaphragm - (0.07 if view == "AP" else 0.0)
    middle, half_height = 0.45 + 0.07 * Y, 0.12 - anatomy.lung_top
    outline = 1.0 - np.abs((U - middle) / anatomy.lung_width) ** 2.4 - np.abs((Y - 0.12) / half_height) ** 2.6
    dome = base + np.where(X < 0, -0.03, 0.02) + 1.7 * (U - 0.36) ** 2
    return np.asarray(expit(outline / 0.07) * expit((dome - Y) / 0.012))


def heart(anatomy: Anatomy, view: str) -> Picture:
    """Heart and aortic arch; the heart is wider in AP, being farther from the detector."""
    width = anatomy.heart_width * (1.15 if view == "AP" else 1.0)
    muscle = ellipse((anatomy.heart_centre, anatomy.diaphragm - 0.13), (width, 0.29))
    return np.maximum(muscle, 0.6 * ellipse((0.09, -0.28), (0.1, 0.12), 0.3))


def bones(anatomy: Anatomy) -> Picture:
    """Ribs seen from behind and in front, collar bones and spine."""
    behind = (Y - anatomy.rib_slope * U**2 + 0.1 * U) / anatomy.rib_spacing + anatomy.rib_start
    front = (Y + 0.75 * U - 0.1 * U**2) / (1.25 * anatomy.rib_spacing) + anatomy.rib_start
    cage = expit((0.74 - 0.25 * expit(-(Y + 0.5) / 0.1) - U) / 0.02) * expit((anatomy.diaphragm + 0.25 - Y) / 0.05)
    cage = cage * expit((Y - anatomy.lung_top + 0.05) / 0.02)
    ribs = 1.0 * ridge(np.mod(behind, 1.0) - 0.5, 0.2) * expit((U - 0.1) / 0.02)
    ribs += 0.6 * ridge(np.mod(front, 1.0) - 0.5, 0.2) * expit((U - 0.32) / 0.04)
    collar = 0.13 * ridge(Y + 0.62 + 0.16 * U, 0.032) * expit((U - 0.07) / 0.01) * expit((0.8 - U) / 0.02)
    vertebrae = 0.75 + 0.25 * np.cos(2 * np.pi * Y / 0.14)
    spine = 0.14 * expit((0.085 - U) / 0.012) * vertebrae
    return np.asarray(anatomy.rib_brightness * ribs * cage + collar + spine)


def vessels(rng: np.random.Generator) -> Picture:
    """Lung vessels: winding lines from each hilum, thinner and fainter outwards."""
    drawn = np.zeros((SIZE, SIZE))
    steps = np.arange(90)
    for side in (-1.0, 1.0):
        for _ in range(16):
            angles = rng.uniform(-1.35, 1.35) + np.cumsum(rng.normal(0.0, 0.05, steps.size))
            x = side * (rng.uniform(0.12, 0.2) + np.cumsum(np.cos(angles)) * 0.007)
            y = rng.uniform(-0.12, 0.12) + np.cumsum(np.sin(angles)) * 0.008
            rows, columns = ((np.clip(axis, -1, 1) + 1) / 2 * (SIZE - 1) for axis in (y, x))
            np.add.at(drawn, (rows.astype(int), columns.astype(int)), 1.0 - steps / steps.size)
    hila = 0.05 * (ellipse((-0.2, 0.0), (0.08, 0.13), 0.4) + ellipse((0.2, -0.03), (0.08, 0.13), 0.4))
    return np.asarray(0.10 * ndimage.gaussian_filter(drawn, 1.1) + 0.12 * ndimage.gaussian_filter(drawn, 2.5) + hila)


def opacity(patient: Patient, number: int) -> Picture:
    """The sign of the class: one faint cloud in a lung; its place is the patient's, its extent the image's."""
    rng = stream("opacity", patient.number)
    side = rng.choice([-1.0, 1.0])
    centre = (side * rng.uniform(0.3, 0.58), rng.uniform(-0.5, 0.38))
    radius, strength = rng.uniform(0.15, 0.30), 0.1 + 0.4 * rng.uniform() ** 0.8  # the weakest can hardly be seen
    border = cloud(rng, SIZE / 24)
    growth = stream("opacity", patient.number, number).uniform(0.85, 1.15)
    reach = np.hypot(X - centre[0], Y - centre[1]) / (radius * growth)
    return np.asarray(strength * expit((1.0 - reach + 0.3 * border) / 0.16))


def brightness(one: Acquisition) -> Picture:
    """The radiograph before exposure, as if the patient stood exactly in the middle."""
    anatomy = anatomy_of(one.patient)
    rng = stream("anatomy", one.patient.number, 1)
    muscle = heart(anatomy, one.view)
    air = lungs(anatomy, one.view) * (1.0 - 0.85 * muscle)
    inside = vessels(rng) + 0.018 * cloud(rng, SIZE / 16) + 0.012 * cloud(rng, SIZE / 48)
    if one.patient.label == "opacity":
        inside = inside + opacity(one.patient, one.number)
    midline = 0.14 * expit((0.15 - U) / 0.03) * expit((0.5 - Y) / 0.1) + 0.11 * muscle
    trachea = 0.12 * expit((0.04 - U) / 0.012) * expit((-0.12 - Y) / 0.03)
    gas = anatomy.stomach_gas * ellipse((0.38, anatomy.diaphragm + 0.2), (0.14, 0.08), 0.3)
    return (
        torso(anatomy) - 0.42 * air + inside * air + midline + bones(anatomy) * (torso(anatomy) > 0.1) - trachea - gas
    )


def built(picture: Picture, patient: Patient) -> Picture:
    """The picture bent a little, the same way in every film of a patient: no two people are drawn by one rule."""
    rng = stream("anatomy", patient.number, 2)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + BEND_PX * np.stack([cloud(rng, SIZE / 10) for _ in range(2)])
    return np.asarray(ndimage.map_coordinates(picture, [rows, columns], order=1, mode="nearest"))


def positioned(picture: Picture, rng: np.random.Generator) -> Picture:
    """The picture turned, enlarged and moved a little, as no two films are taken alike."""
    angle, scale = rng.normal(0.0, 0.03), rng.uniform(0.92, 1.04)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    centre = np.full(2, (SIZE - 1) / 2)
    offset = centre - turn @ centre + rng.normal(0.0, 4.0, 2)
    return np.asarray(ndimage.affine_transform(picture, turn, offset, order=1, mode="nearest"))


def marker(one: Acquisition) -> Picture:
    """The lead letter L beside the patient's left shoulder."""
    rng = stream("acquisition", one.patient.number, one.number, 1)
    row, column = int(rng.integers(8, 30)), int(rng.integers(SIZE - 34, SIZE - 18))
    letter = np.zeros((SIZE, SIZE))
    letter[row : row + 12, column : column + 2] = 1.0
    letter[row + 10 : row + 12, column : column + 8] = 1.0
    return letter


def exposed(one: Acquisition) -> tuple[NDArray[np.uint16], tuple[int, int]]:
    """Stored values of shape (SIZE, SIZE) in [0, 4095] with 0 black, and the window (centre, width) that suits them."""
    rng = stream("acquisition", one.patient.number, one.number)
    picture = positioned(built(brightness(one), one.patient), rng)
    picture = np.maximum(picture, marker(one))
    dark, contrast = rng.uniform(150.0, 500.0), rng.uniform(900.0, 1500.0)
    grain = rng.uniform(1.0, 2.0) * cloud(rng, 1.3)
    values = dark + contrast * np.clip(picture, 0.0, None) ** rng.uniform(0.9, 1.15) + grain
    centre = dark + contrast * rng.uniform(0.46, 0.54)
    return np.clip(np.round(values), 0, LARGEST_VALUE).astype(np.uint16), (round(centre), round(1.1 * contrast))


# ---------------------------------------------------------------- the files


def uid(*names: str) -> UID:
    """A valid UID that depends on the names only."""
    return UID(f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(names)).int}")


def described(one: Acquisition) -> Dataset:
    """The header without anything about pixels; dates and names of people are empty or say that they are made up."""
    patient, header = one.patient, Dataset()
    header.file_meta = FileMetaDataset()
    header.SOPClassUID = ComputedRadiographyImageStorage
    header.SOPInstanceUID = uid(one.path)
    header.StudyInstanceUID = uid(patient.identifier, "study", str(one.number))
    header.SeriesInstanceUID = uid(patient.identifier, "series", str(one.number))
    header.PatientName, header.PatientID = f"SYNTHETIC^{patient.identifier}", patient.identifier
    header.PatientSex, header.PatientAge = patient.sex, f"{patient.age:03d}Y"
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(header, keyword, "")
    header.StudyID, header.SeriesNumber, header.InstanceNumber = str(one.number), 1, 1
    header.Modality, header.BodyPartExamined, header.ViewPosition = "CR", "CHEST", one.view
    header.Manufacturer, header.ImageType = "", ["DERIVED", "PRIMARY"]
    header.DerivationDescription = "synthetic: drawn by a program, shows no person"
    header.ImagerPixelSpacing = [PIXEL_SPACING_MM, PIXEL_SPACING_MM]
    return header


def radiograph(one: Acquisition) -> Dataset:
    """The whole DICOM object, its pixels compressed as the acquisition says."""
    values, (centre, width) = exposed(one)
    if one.photometric == "MONOCHROME1":  # 0 is white
        values, centre = LARGEST_VALUE - values, LARGEST_VALUE - centre
    header = described(one)
    header.Rows, header.Columns = values.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, one.photometric
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    if one.windowed:
        header.WindowCenter, header.WindowWidth = centre, width
    header.file_meta.TransferSyntaxUID = one.syntax
    if one.syntax == JPEG2000Lossless:
        codestream = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, bitspersample=12)
        header.PixelData = encapsulate([bytes(codestream)])
        header["PixelData"].VR = "OB"
    else:
        header.PixelData = values.astype("<u2").tobytes()
        header["PixelData"].VR = "OW"
    if one.syntax == RLELossless:
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return header


def make(folder: Path) -> int:
    """Write images/*.dcm and labels.csv into the folder; returns how many images. Other files stay."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    everything = acquisitions()
    for one in everything:
        radiograph(one).save_as(folder / one.path, enforce_file_format=True)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(FIELDS)
        for one in everything:
            patient = one.patient
            writer.writerow([one.path, patient.label, patient.identifier, one.view, patient.sex, patient.age])
    return len(everything)


def main() -> None:
    """Read the command line and make the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "xrays", help="folder to write into")
    folder = parser.parse_args().out
    print(f"{make(folder)} images in {folder}")


if __name__ == "__main__":
    main()
