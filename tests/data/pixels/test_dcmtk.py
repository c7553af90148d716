"""Grey levels and colours as DCMTK renders them: another implementation of the same standard, in C++.

``dcmj2pnm`` maps to 8 bits; what effmed gives must be within 1 of 255. Overlays are off, because effmed does not draw
any; where a file holds no window, both are given the same.
"""

import shutil
import subprocess

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid

from effmed.data.pixels import read_image
from tests.data.pixels import make
from tests.data.pixels.test_corpus import ROOT, rows
from tests.data.pixels.test_fuzz import run_lengths

pytestmark = pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="needs DCMTK's dcmj2pnm")

MAX_MEGAPIXELS = 200
LEVELS_PER_BYTE_LEVEL = 257
JPEG_LS, JPEG_2000 = (uid.JPEGLSLossless, uid.JPEGLSNearLossless), (uid.JPEG2000Lossless, uid.JPEG2000)


def rendered(path, *options, frame=0):
    """Return what DCMTK makes of a frame, uint8 grey or RGB; None where it refuses."""
    picture = path.with_name(f"{path.name}.pnm")
    command = ["dcmj2pnm", "--quiet", "--no-overlays", "--write-raw-pnm", "--frame", str(frame + 1), *options]
    done = subprocess.run([*command, str(path), str(picture)], capture_output=True, check=False)
    pixels = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED) if done.returncode == 0 and picture.exists() else None
    picture.unlink(missing_ok=True)
    return pixels if pixels is None or pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])


def levels(path, *, frame=0, window="stored"):
    """Return what effmed makes of it, rounded to 8 bits, and which window it took."""
    image = read_image(path, frame, window=window, max_megapixels=MAX_MEGAPIXELS)
    pixels = image.pixels.astype(np.int64)
    if image.pixels.dtype == np.uint16:
        pixels = (pixels + LEVELS_PER_BYTE_LEVEL // 2) // LEVELS_PER_BYTE_LEVEL
    return pixels, image.provenance


def prepared(path, made):
    """Write a copy of a file's first frame that DCMTK can read: codecs that it lacks decoded, groups on the top level.

    JPEG-LS is decoded by DCMTK itself, JPEG 2000 by Pillow; both in other code than effmed's.
    """
    header = pydicom.dcmread(path, force=True)
    if made.syntax in JPEG_LS:
        subprocess.run(["dcmdjpls", str(path), str(path)], capture_output=True, check=True)
        header = pydicom.dcmread(path)
    if made.syntax in JPEG_2000:
        header.decompress(decoding_plugin="pillow")
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups = header.get(keyword) or [{}]
        for group in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for element in groups[0][group].value[0] if group in groups[0] else ():
                header[element.tag] = element
    if made.syntax in (*JPEG_LS, *JPEG_2000) or "SharedFunctionalGroupsSequence" in header:
        list(header)  # gives elements of unknown VR, which DCMTK passes over, the one of the dictionary
        header.save_as(path)
    return "PixelPaddingValue" in header


def difference(ours, theirs, *, is_padded):
    """Largest difference between levels; grey in one or three channels is the same, padding is black only here."""
    if theirs.ndim > ours.ndim:
        ours = np.repeat(ours[..., np.newaxis], 3, axis=-1)
    if ours.shape != theirs.shape:
        return 255
    differences = np.abs(ours - theirs.astype(np.int64))
    return int(differences[(ours > 0) | (not is_padded)].max(initial=0))


def compared(path):
    """Return the largest difference between both renderings of a file; None where DCMTK renders none.

    The file is changed.
    """
    pixels, made = levels(path)
    options = {"lut": ["--use-voi-lut", "1"], "full": []}.get(made.window, ["--use-window", "1"])
    if made.window_origin == "percentile":
        low, high = (float(end) for end in made.window.rpartition("= ")[2].split(".."))
        center, width = round((low + high) / 2), max(round(high - low), 2)
        pixels, _ = levels(path, window=f"{center}/{width}")
        options = ["--set-window", str(center), str(width)]
    is_padded = prepared(path, made)
    theirs = rendered(path, *options)
    return None if theirs is None else difference(pixels, theirs, is_padded=is_padded)


# ---------------------------------------------------------------- files made here

GENERATOR = np.random.default_rng(0)
DEEP = GENERATOR.integers(0, 4096, (24, 32)).astype(np.uint16)
WHOLE = GENERATOR.integers(0, 65536, (24, 32)).astype(np.uint16)
SIGNED = WHOLE.view(np.int16)
BYTES = (np.add.outer(np.arange(24), np.arange(32)) * 4).astype(np.uint8)
COLOUR = np.stack([BYTES, BYTES[::-1], np.full_like(BYTES, 200)], axis=-1)
SOFT = {"WindowCenter": 1024, "WindowWidth": 1500}
HOUNSFIELD = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}
CURVE = (np.linspace(0, 1, 4096) ** 0.5 * 4095).astype(int).tolist()
STEPS = (np.linspace(0, 1, 256) ** 2 * 65535).astype(int).tolist()


def palette(entries, bits):
    values = {"Red": entries, "Green": entries[::-1], "Blue": [*entries[7:], *entries[:7]]}
    tables = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, bits] for name in values}
    tables |= {
        f"{name}PaletteColorLookupTableData": np.array(table, f"<u{bits // 8}").tobytes()
        for name, table in values.items()
    }
    return {"pixels": BYTES, "PhotometricInterpretation": "PALETTE COLOR", **tables}


def jpeg(values, **options):
    return [imagecodecs.jpeg8_encode(values, **options)]


MADE = {
    "a window over 12 bits": {"pixels": DEEP, "BitsStored": 12, **SOFT},
    "a window over 16 bits": {"pixels": WHOLE, "WindowCenter": 30000, "WindowWidth": 40000},
    "a window over 8 bits": {"pixels": BYTES, "WindowCenter": 100, "WindowWidth": 90},
    "a window of half units": {"pixels": DEEP, "BitsStored": 12, "WindowCenter": 1024.5, "WindowWidth": 900.5},
    "a window of width 1": {"pixels": DEEP, "BitsStored": 12, "WindowCenter": 1024, "WindowWidth": 1},
    "the first of several windows": {"pixels": DEEP, "WindowCenter": [1000, 3000], "WindowWidth": [900, 50]},
    "no window": {"pixels": DEEP, "BitsStored": 12},
    "a sigmoid": {"pixels": DEEP, "BitsStored": 12, "VOILUTFunction": "SIGMOID", **SOFT},
    "white at zero": {"pixels": DEEP, "BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1", **SOFT},
    "white at zero, 8 bits, no window": {"pixels": BYTES, "PhotometricInterpretation": "MONOCHROME1"},
    "signed 16 bits": {"pixels": SIGNED, "WindowCenter": -300, "WindowWidth": 20000},
    "signed 12 bits": {"pixels": DEEP.view(np.int16), "BitsStored": 12, "WindowCenter": -40, "WindowWidth": 900},
    "signed 8 bits": {"pixels": BYTES.view(np.int8), "WindowCenter": 0, "WindowWidth": 100},
    "Hounsfield units": {"pixels": DEEP, "BitsStored": 12, **HOUNSFIELD},
    "a falling rescale": {"pixels": DEEP, "BitsStored": 12, **HOUNSFIELD, "RescaleSlope": -0.5},
    "10 bits of 16": {"pixels": DEEP >> 2, "BitsStored": 10, "WindowCenter": 500, "WindowWidth": 700},
    "overlay bits above": {"pixels": DEEP | 0xF000, "BitsStored": 12, **SOFT},
    "values in the upper bits": {"pixels": DEEP << 4, "BitsStored": 12, "HighBit": 15, **SOFT},
    "a VOI LUT": {"pixels": DEEP, "BitsStored": 12, "VOILUTSequence": make.lut(0, CURVE, bits=12)},
    "a VOI LUT from the middle": {"pixels": DEEP, "VOILUTSequence": make.lut(1000, STEPS)},
    "a VOI LUT below zero": {"pixels": SIGNED, "VOILUTSequence": make.lut(-9000, CURVE, bits=12)},
    "a VOI LUT, white at zero": {
        "pixels": DEEP,
        "PhotometricInterpretation": "MONOCHROME1",
        "VOILUTSequence": make.lut(0, CURVE, bits=12),
    },
    "a modality LUT": {
        "pixels": DEEP,
        "BitsStored": 12,
        "ModalityLUTSequence": make.lut(0, CURVE),
        "WindowCenter": 2000,
        "WindowWidth": 3000,
    },
    "a modality LUT and a VOI LUT": {
        "pixels": BYTES,
        "ModalityLUTSequence": make.lut(0, range(0, 4096, 16)),
        "VOILUTSequence": make.lut(0, CURVE, bits=12),
    },
    "implicit": {"pixels": DEEP, "syntax": uid.ImplicitVRLittleEndian, "BitsStored": 12, **SOFT},
    "big endian": {"pixels": DEEP, "syntax": uid.ExplicitVRBigEndian, "BitsStored": 12, **SOFT},
    "deflated": {"pixels": DEEP, "syntax": uid.DeflatedExplicitVRLittleEndian, "BitsStored": 12, **SOFT},
    "run lengths": {
        "pixels": DEEP,
        "syntax": uid.RLELossless,
        "streams": [run_lengths(DEEP)],
        "BitsStored": 12,
        **SOFT,
    },
    "runs of colour": {"pixels": COLOUR, "syntax": uid.RLELossless, "streams": [run_lengths(COLOUR)]},
    "a palette of bytes": palette(list(range(256)), 8),
    "a palette of words": palette(STEPS, 16),
    "colour by pixel": {"pixels": COLOUR},
    "colour by plane": {"pixels": np.moveaxis(COLOUR, -1, 0).reshape(24, 32, 3), "PlanarConfiguration": 1},
    "16 bits of colour": {"pixels": COLOUR.astype(np.uint16) * 200},
    "JPEG": {"pixels": BYTES, "syntax": uid.JPEGBaseline8Bit, "streams": jpeg(BYTES)},
    "JPEG of 12 bits": {
        "pixels": DEEP,
        "BitsStored": 12,
        "syntax": uid.JPEGExtended12Bit,
        "streams": jpeg(DEEP, bitspersample=12, level=100),
        **SOFT,
    },
    "JPEG of colour": {
        "pixels": COLOUR,
        "PhotometricInterpretation": "YBR_FULL_422",
        "syntax": uid.JPEGBaseline8Bit,
        "streams": jpeg(COLOUR, subsampling="444"),
    },
    "lossless JPEG": {
        "pixels": SIGNED,
        "syntax": uid.JPEGLosslessSV1,
        "streams": jpeg(WHOLE, lossless=True, bitspersample=16),
        "WindowCenter": -300,
        "WindowWidth": 20000,
    },
    "JPEG-LS": {"pixels": DEEP, "syntax": uid.JPEGLSLossless, "streams": [imagecodecs.jpegls_encode(DEEP)], **SOFT},
    "a picture of one value": {"pixels": np.full((24, 32), 700, dtype=np.uint16), "BitsStored": 12, **SOFT},
}


@pytest.mark.parametrize("name", MADE)
def test_dcmtk_renders_the_same(tmp_path, name):
    assert compared(make.dicom(tmp_path / "a.dcm", **MADE[name])) <= 1


def test_dcmtk_cuts_modality_values_to_integers_and_effmed_does_not(tmp_path):
    made = HOUNSFIELD | {"RescaleSlope": "0.3333333"}
    path = make.dicom(tmp_path / "a.dcm", DEEP, BitsStored=12, **made)
    units = DEEP * 0.3333333 - 1024
    exact, cut = (np.clip((values - 39.5) / 399 + 0.5, 0, 1) * 255 for values in (units, np.trunc(units)))
    assert np.abs(levels(path)[0] - exact).max() <= 0.5
    assert np.array_equal(rendered(path, "--use-window", "1"), np.floor(cut))


def test_dcmtk_rounds_luma_and_chroma_roughly_and_effmed_does_not(tmp_path):
    path = make.dicom(tmp_path / "a.dcm", COLOUR, PhotometricInterpretation="YBR_FULL")
    exact = np.clip(np.rint(rgb_of(COLOUR)), 0, 255)
    assert np.abs(levels(path)[0] - exact).max() == 0
    assert difference(exact, rendered(path), is_padded=False) == 2


def rgb_of(stored):
    """ITU-R BT.601 as PS3.3 C.7.6.3.1.2 has it, in floats."""
    luma, blue, red = np.moveaxis(stored.astype(float), -1, 0) - np.array([0, 128, 128])[:, None, None]
    green = luma - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587
    return np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], axis=-1)


# ---------------------------------------------------------------- real files

DATA, LJ = "pydicom_pydicom-data/data_store/data", "pydicom_pylibjpeg-data/ljdata/ds"
NOT_RENDERED = {
    f"{DATA}/HTJ2KLossless_08_RGB.dcm": "DCMTK 3.6.7 knows no HTJ2K",
    f"{DATA}/HTJ2K_08_RGB.dcm": "DCMTK 3.6.7 knows no HTJ2K",
    f"{DATA}/JLSL_08_07_0_1F.dcm": "its decoder refuses 7 bits",
    f"{DATA}/SC_rgb_32bit.dcm": "its pixel data is OB",
    f"{DATA}/SC_rgb_32bit_2frame.dcm": "its pixel data is OB",
    f"{DATA}/SC_rgb_expb_32bit.dcm": "its pixel data is OB",
    f"{DATA}/SC_rgb_expb_32bit_2frame.dcm": "its pixel data is OB",
    f"{DATA}/gdcm-US-ALOKA-16.dcm": "DCMTK does not know palettes in segments",
    f"{DATA}/gdcm-US-ALOKA-16_big.dcm": "DCMTK does not know palettes in segments",
    f"{DATA}/liver_deflate.dcm": "DCMTK 3.6.7 does not know deflated frames",
    f"{DATA}/liver_nonbyte_aligned_deflate.dcm": "DCMTK 3.6.7 does not know deflated frames",
    f"{DATA}/parametric_map_double_float.dcm": "DCMTK 3.6.7 does not know floats",
    f"{DATA}/parametric_map_float.dcm": "DCMTK 3.6.7 does not know floats",
    f"{LJ}/JPEG2000Lossless/JPEG2KLossless_1s_1f_u_16_16.dcm": "Pillow cannot decode it; cv2 gives what effmed gives",
    f"{LJ}/JPEG2000Lossless/GDCMJ2K_TextGBR.dcm": "Pillow cannot decode it",
    f"{LJ}/JPEG2000Lossless/J2K_pixelrep_mismatch.dcm": "pydicom cannot extend the sign of what Pillow decodes",
}
WRONG_THERE = {
    f"{DATA}/SC_ybr_full_uncompressed.dcm": "DCMTK rounds luma and chroma roughly; see the next test",
    f"{LJ}/JPEG2000Lossless/TOSHIBA_J2K_SIZ1_PixRep0.dcm": "Pillow shifts signed JPEG 2000 by half its range",
}


def images():
    listed = NOT_RENDERED | WRONG_THERE
    return [row["file"] for row in rows() if row["prototype_result"] != "reject" and row["file"] not in listed]


@pytest.mark.corpus
@pytest.mark.filterwarnings("ignore:The value length")  # of headers that pydicom writes for DCMTK
@pytest.mark.parametrize("name", images())
def test_dcmtk_renders_real_files_the_same(tmp_path, name):
    path = tmp_path / "a.dcm"
    path.write_bytes((ROOT / name).read_bytes())
    assert compared(path) <= 1


@pytest.mark.corpus
@pytest.mark.skipif(not rows(), reason="needs real files: set EFFMED_CORPUS")
def test_luma_and_chroma_of_a_real_file_become_the_colours_of_the_standard():
    path = ROOT / DATA / "SC_ybr_full_uncompressed.dcm"
    header = pydicom.dcmread(path)
    stored = np.frombuffer(header.PixelData, np.uint8).reshape(header.Rows, header.Columns, 3)
    assert np.array_equal(levels(path)[0], np.clip(np.rint(rgb_of(stored)), 0, 255))
