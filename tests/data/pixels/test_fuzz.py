"""Thousands of damaged and lying files: each is an image or a reason, soon, and in bounded memory.

File number n is one seed after one to three mutations, all drawn by ``Random(n)``: a number in a message is the file.
Processes of their own read the files, so that what kills or stops a process is seen and named.
"""

import faulthandler
import gc
import json
import os
import random
import struct
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from pydicom import uid

from effmed.data.pixels import Preprocessing, preprocess, read_header, read_image
from effmed.data.pixels.dicom.dataset import meta_syntax
from effmed.errors import DataError
from tests.data.pixels import make

N_FILES = 8000
N_REAL_SEEDS, LARGEST_REAL_SEED = 80, 300_000
N_PROCESSES = 2
MAX_MEGAPIXELS = 50.0  # memory goes with it: colour takes up to 20 bytes a pixel while it is decoded
SECONDS_OF_WORK, SECONDS_OF_WAITING = 30.0, 60.0  # a bomb takes 5 s, three times as long beside other work
MEMORY_BYTES = 10**9
ADDRESS_SPACE_BYTES = 8 * 2**30  # far above what is claimed: only a file that would take the machine down meets it
SPEC = Preprocessing(height=16, width=16, channels=1, depth="uint8", window="stored", max_megapixels=MAX_MEGAPIXELS)

# ---------------------------------------------------------------- seeds

BYTES = (np.add.outer(np.arange(24), np.arange(32)) * 4).astype(np.uint8)
COLOUR = np.stack([BYTES, BYTES[::-1], np.full_like(BYTES, 200)], axis=-1)
DEEP = np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.uint16)
SIGNED = DEEP.astype(np.int16) - 2048
FRAMES = np.stack([DEEP, DEEP.T.reshape(24, 32), DEEP // 2])
WINDOW = {"WindowCenter": [40, 300], "WindowWidth": [400, 1500], "RescaleSlope": 2, "RescaleIntercept": -1024}
J2K = {"level": 0, "codecformat": "j2k", "reversible": True}


def run_lengths(values):
    """One frame as DICOM's RLE: a segment per byte of a pixel, the highest first (PS3.5 annex G)."""
    wide = values.astype(values.dtype.newbyteorder(">")).reshape(values.shape[0] * values.shape[1], -1)
    planes = wide.view(np.uint8).reshape(len(wide), -1).T
    segments = [imagecodecs.packbits_encode(plane.tobytes()) for plane in planes]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    starts = [64 + sum(map(len, segments[:k])) for k in range(len(segments))]
    header = struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def native_seeds():
    yield "implicit", {"pixels": DEEP, "syntax": uid.ImplicitVRLittleEndian, "BitsStored": 12, **WINDOW}
    yield "explicit", {"pixels": SIGNED, "PixelPaddingValue": -2000, "PixelSpacing": [0.5, 0.25], **WINDOW}
    yield "big", {"pixels": DEEP, "syntax": uid.ExplicitVRBigEndian, **WINDOW}
    yield "deflated", {"pixels": DEEP, "syntax": uid.DeflatedExplicitVRLittleEndian, **WINDOW}
    inverse = {"PhotometricInterpretation": "MONOCHROME1", "VOILUTFunction": "SIGMOID"}
    yield "inverse", {"pixels": BYTES, **inverse, **WINDOW}
    yield "frames", {"pixels": FRAMES}
    yield "rgb", {"pixels": COLOUR}
    yield "ybr", {"pixels": COLOUR, "PhotometricInterpretation": "YBR_FULL"}
    yield "mask", {"pixels": BYTES, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    yield "wide", {"pixels": DEEP.astype(np.uint32) << 9}
    yield "modality-lut", {"pixels": BYTES, "ModalityLUTSequence": make.lut(0, range(0, 65536, 256))}
    yield "voi-lut", {"pixels": DEEP, "VOILUTSequence": make.lut(0, range(4096), bits=12)}
    groups = {
        "PixelValueTransformationSequence": make.item(RescaleSlope=1, RescaleIntercept=-1024),
        "FrameVOILUTSequence": make.item(WindowCenter=40, WindowWidth=400),
        "PixelMeasuresSequence": make.item(PixelSpacing=[1, 1]),
    }
    yield "enhanced", {"pixels": FRAMES, "SharedFunctionalGroupsSequence": make.item(**groups)}
    nested = make.item(PatientID="X")
    for _ in range(20):
        nested = make.item(ReferencedSeriesSequence=nested)
    yield "nested", {"pixels": DEEP, "ReferencedStudySequence": nested}
    words = {"Descriptor": [256, 0, 16], "Data": (np.arange(256) * 256).astype("<u2").tobytes()}
    tables = {f"{name}PaletteColorLookupTable{k}": v for name in ("Red", "Green", "Blue") for k, v in words.items()}
    yield "palette", {"pixels": BYTES, "PhotometricInterpretation": "PALETTE COLOR", **tables}
    segments = {"Data": np.array([0, 1, 0, 1, 255, 65535], dtype="<u2").tobytes()}
    short = {k.replace("Data", "Descriptor"): words["Descriptor"] for k in tables if k.endswith("Data")}
    short |= {f"Segmented{k}": segments["Data"] for k in tables if k.endswith("Data")}
    yield "segments", {"pixels": BYTES, "PhotometricInterpretation": "PALETTE COLOR", **short}


def coded_seeds():
    """Name, transfer syntax, pixels, and the encoder of a frame."""
    lossless = {"lossless": True, "bitspersample": 16}
    yield "rle", uid.RLELossless, FRAMES, run_lengths
    yield "rle-rgb", uid.RLELossless, COLOUR, run_lengths
    yield "jpeg", uid.JPEGBaseline8Bit, BYTES, imagecodecs.jpeg8_encode
    yield "jpeg-rgb", uid.JPEGBaseline8Bit, COLOUR, imagecodecs.jpeg8_encode
    yield "jpeg-12", uid.JPEGExtended12Bit, DEEP, lambda v: imagecodecs.jpeg8_encode(v, bitspersample=12)
    yield "jpeg-lossless", uid.JPEGLosslessSV1, DEEP, lambda v: imagecodecs.jpeg8_encode(v, **lossless)
    yield "jpeg-57", uid.JPEGLossless, SIGNED.view(np.uint16), lambda v: imagecodecs.jpeg8_encode(v, **lossless)
    yield "jpeg-ls", uid.JPEGLSLossless, FRAMES, imagecodecs.jpegls_encode
    yield "jpeg-ls-lossy", uid.JPEGLSNearLossless, BYTES, lambda v: imagecodecs.jpegls_encode(v, level=2)
    yield "j2k", uid.JPEG2000Lossless, DEEP, lambda v: imagecodecs.jpeg2k_encode(v, **J2K)
    yield "j2k-rgb", uid.JPEG2000, COLOUR, lambda v: imagecodecs.jpeg2k_encode(v, level=50, codecformat="j2k")
    yield "jp2", uid.JPEG2000, BYTES, lambda v: imagecodecs.jpeg2k_encode(v, level=0, codecformat="jp2")
    yield "htj2k", uid.HTJ2KLossless, DEEP, imagecodecs.htj2k_encode
    yield "jxl", "1.2.840.10008.1.2.4.110", DEEP, lambda v: imagecodecs.jpegxl_encode(v, lossless=True)
    yield "deflated-frames", make.DEFLATED_FRAMES, FRAMES, lambda v: make.deflated(v.tobytes())


def raster_seeds():
    grey, deep, colour = (PIL.Image.fromarray(values) for values in (BYTES, DEEP, COLOUR))
    comment = PIL.PngImagePlugin.PngInfo()
    comment.add_text("Comment", "x" * 3000, zip=True)
    yield "png", grey, {"format": "png", "pnginfo": comment}
    yield "png-16", deep, {"format": "png"}
    yield "png-palette", colour.quantize(32), {"format": "png", "transparency": 0}
    yield "png-bits", grey.convert("1"), {"format": "png"}
    yield "jpeg", colour, {"format": "jpeg"}
    yield "jpeg-progressive", grey, {"format": "jpeg", "progressive": True}
    yield "jpeg-cmyk", colour.convert("CMYK"), {"format": "jpeg"}
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"):
        yield f"tiff-{compression}", colour, {"format": "tiff", "compression": compression}
    yield "tiff-16", deep, {"format": "tiff", "compression": "tiff_lzw"}
    yield "tiff-float", PIL.Image.fromarray(DEEP.astype(np.float32)), {"format": "tiff"}
    yield "tiff-fax", grey.convert("1"), {"format": "tiff", "compression": "group4"}
    yield "tiff-pages", grey, {"format": "tiff", "save_all": True, "append_images": [grey, colour]}
    yield "bmp", grey, {"format": "bmp"}
    yield "bmp-rgb", colour, {"format": "bmp"}
    yield "webp", colour, {"format": "webp"}
    yield "webp-lossless", grey, {"format": "webp", "lossless": True}


def write_seeds(folder):
    """Write one undamaged file for each way in which an image can be stored; real ones where there are any."""
    for name, made in native_seeds():
        make.dicom(folder / f"dicom-{name}", **made)
    for name, syntax, pixels, encode in coded_seeds():
        frames = pixels if pixels is FRAMES else [pixels]
        bits = {} if pixels.dtype == np.uint8 else {"BitsStored": 16 if "57" in name else 12}
        streams = [encode(frame) for frame in frames]
        make.dicom(folder / f"dicom-{name}", pixels, syntax=syntax, streams=streams, **bits, **WINDOW)
    for name, picture, options in raster_seeds():
        picture.save(folder / name, **options)
    (folder / "png-rgb-16").write_bytes(imagecodecs.png_encode(np.stack([DEEP * 16, DEEP, DEEP], axis=-1)))
    for k, path in enumerate(real_files()):
        (folder / f"dicom-real-{k:03}").write_bytes(path.read_bytes())


def real_files():
    root = Path(os.environ.get("EFFMED_CORPUS", "")) / "dicom_corpus"
    if "EFFMED_CORPUS" not in os.environ:
        return []
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size < LARGEST_REAL_SEED)
    return random.Random(0).sample(files, min(N_REAL_SEEDS, len(files)))  # noqa: S311, RUF100  not for secrets


# ---------------------------------------------------------------- mutations


def flushed(data):
    """Raw deflate that ends at a byte and refers to nothing before it, so that pieces can be put together."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


MIB_OF_ZEROS, DEFLATE_END = flushed(bytes(1 << 20)), b"\x03\x00"


def zeros(n_mib):
    """A zlib stream of zeros, whose Adler checksum is their number."""
    return b"\x78\xda" + MIB_OF_ZEROS * n_mib + DEFLATE_END + struct.pack(">HH", (n_mib << 20) % 65521, 1)


NUMBERS = (0, 1, 2, 3, 7, 8, 9, 12, 127, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
SIDES = (1, 2, 3, 100, 5000, 13000, 14000, 20000, 40000, 65500)
SIZE_TAGS = (0x00280010, 0x00280011)
CLAIMS = (*SIZE_TAGS, 0x00280002, 0x00280006, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
VRS = (b"OB", b"OW", b"UN", b"SQ", b"US", b"SS", b"UL", b"FD", b"DS", b"IS", b"UI", b"PN", b"AT", b"OF", b"UT", b"ZZ")
WORDS = (
    *(b"MONOCHROME1", b"MONOCHROME2", b"PALETTE COLOR", b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_RCT", b"CMYK"),
    *(syntax.encode() for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")),
    *(f"1.2.840.10008.1.2.4.{k}".encode() for k in (50, 51, 57, 70, 80, 81, 90, 91, 110, 201)),
    *(b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.8.1"),
)
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


def elements(data):
    """Tag, offset, offset of the value and its length, of an explicit little-endian data set's top level."""
    found, at = [], 132
    while at + 12 <= len(data) and data[at + 4 : at + 6].isalpha():
        group, number = struct.unpack_from("<HH", data, at)
        is_long = bytes(data[at + 4 : at + 6]) in LONG
        start = at + (12 if is_long else 8)
        length = struct.unpack_from("<I" if is_long else "<H", data, start - (4 if is_long else 2))[0]
        found.append((group << 16 | number, at, start, length))
        at = start + length
    return found


def random_bytes(data, dice):
    for _ in range(dice.randint(1, 16)):
        data[dice.randrange(len(data))] = dice.randrange(256)


def flipped_bits(data, dice):
    """Flip bits near the beginning, where headers are."""
    for _ in range(dice.randint(1, 8)):
        data[dice.randrange(min(len(data), 1500))] ^= 1 << dice.randrange(8)


def cut(data, dice):
    del data[dice.randrange(len(data)) :]


def inserted(data, dice):
    at = dice.randrange(len(data))
    data[at:at] = dice.randbytes(dice.choice((1, 2, 3, 8, 100, 5000)))


def deleted(data, dice):
    at = dice.randrange(len(data))
    del data[at : at + dice.choice((1, 2, 3, 8, 100))]


def zeroed(data, dice):
    at = dice.randrange(len(data))
    run = slice(at, min(at + dice.choice((1, 4, 16, 200)), len(data)))
    data[run] = bytes(run.stop - run.start)


def swapped(data, dice):
    """Copy one run over another."""
    source, target, size = dice.randrange(len(data)), dice.randrange(len(data)), dice.choice((2, 8, 60))
    data[target : target + size] = data[source : source + size]


def numbered(data, dice):
    """Put a number that code may trip over anywhere."""
    form = dice.choice(("<H", ">H", "<I", ">I", "B"))
    size = struct.calcsize(form)
    if len(data) > size:
        struct.pack_into(form, data, dice.randrange(len(data) - size), dice.choice(NUMBERS) % (1 << 8 * size))


def element_moved(data, dice):
    """Repeat, drop or exchange whole elements."""
    found = [(at, start + length) for tag, at, start, length in elements(data) if tag < 0x7FE00000]
    if len(found) < 3:
        return random_bytes(data, dice)
    (first, first_end), (second, second_end) = sorted(dice.sample(found, 2))
    one, other = data[first:first_end], data[second:second_end]
    kind = dice.randrange(3)
    data[second:second_end] = (other + one, b"", one)[kind]
    if kind == 2:
        data[first:first_end] = other
    return None


def element_relabelled(data, dice):
    found = elements(data)
    if not found:
        return random_bytes(data, dice)
    _, at, _, _ = dice.choice(found)
    data[at + 4 : at + 6] = dice.choice(VRS)
    return None


def element_resized(data, dice):
    """Let an element's length lie."""
    found = elements(data)
    if not found:
        return random_bytes(data, dice)
    _, at, start, length = dice.choice(found)
    size = 4 if start - at == 12 else 2
    lie = dice.choice((0, 1, length + 1, length - 1, length * 2, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0xFFFF))
    data[start - size : start] = (lie % (1 << 8 * size)).to_bytes(size, "little")
    return None


def claim(data, tags, values):
    for tag, _, start, length in elements(data):
        if tag in tags and length == 2:
            struct.pack_into("<H", data, start, values[tag] % 65536)


def claimed(data, dice):
    """Let the header claim sizes, depths and channels that are not there."""
    claim(data, CLAIMS, {tag: dice.choice((*SIDES, *NUMBERS)) if dice.random() < 0.4 else 16 for tag in CLAIMS})


def framed(data, dice):
    """Claim many frames."""
    number = dice.choice((b"99999999", b"1000000 ", b"-1", b"0 ", b"1A", b"1E5 ", b"2\\3 "))
    for tag, at, _, _ in elements(data):
        if tag == 0x00280010:
            data[at:at] = b"\x28\x00\x08\x00IS" + struct.pack("<H", len(number)) + number
            return


def resized(data, dice):
    """Let header and codestream claim the same size, so that only the decoder can tell."""
    rows, columns = dice.choice(SIDES), dice.choice(SIDES)
    if dice.random() < 0.6:
        claim(data, SIZE_TAGS, dict(zip(SIZE_TAGS, (rows, columns), strict=True)))
    for marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
        at = data.find(bytes([0xFF, marker]))
        if 0 <= at < len(data) - 9:
            struct.pack_into(">HH", data, at + 5, rows, columns)
    at = data.find(b"\xff\x4f\xff\x51")
    if 0 <= at < len(data) - 40:
        struct.pack_into(">II", data, at + 8, columns, rows)
        if dice.random() < 0.5:
            struct.pack_into(">II", data, at + 24, columns, rows)


def reworded(data, dice):
    """Exchange the transfer syntax or the colours for others."""
    old = dice.choice([word for word in WORDS if word in data] or [b"\0"])
    new = dice.choice(WORDS)
    at = data.find(old)
    if at >= 0:
        data[at : at + len(old)] = (new + bytes(len(old)))[: max(len(old), 1)]


def buried(data, dice):
    """Nest sequences so deep that recursion ends."""
    depth = dice.choice((200, 990, 10_000, 100_000))
    inside = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    if dice.random() < 0.5:
        inside += b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth
    places = [at for tag, at, _, _ in elements(data) if tag > 0x00100000]
    at = places[0] if places else dice.randrange(len(data))
    data[at:at] = inside


def inflated(data, dice):
    """Replace what follows the meta information by a bomb: much out of little."""
    start = meta_syntax(bytes(data))[1]
    if start >= len(data) or dice.random() < 0.7:  # a bomb takes seconds, and one is much like another
        return random_bytes(data, dice)
    plain = bytes(data[start:]) if dice.random() < 0.5 else b""
    data[start:] = flushed(plain[:400]) + MIB_OF_ZEROS * dice.choice((40, 400, 2000)) + DEFLATE_END
    at = data.find(b"1.2.840.10008.1.2")
    data[at : at + 22] = b"1.2.840.10008.1.2.1.99"
    return None


def chunked(data, dice):
    """Change a chunk of a PNG and mend its checksum, so that the change is believed."""
    found, at = [], 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        found.append((at, length))
        at += length + 12
    if not data.startswith(b"\x89PNG") or not found:
        return numbered(data, dice)
    at, length = dice.choice(found)
    kind = bytes(data[at + 4 : at + 8])
    inside = data[at + 8 : at + 8 + length] or bytearray(4)
    if kind == b"IHDR" and dice.random() < 0.5:
        struct.pack_into(">II", inside, 0, dice.choice((100_000, *SIDES)), dice.choice((100_000, *SIDES)))
    elif kind in (b"zTXt", b"IDAT") and dice.random() < 0.5:
        inside[:] = (b"Comment\0\0" if kind == b"zTXt" else b"") + zeros(dice.choice((10, 300)))
    else:
        dice.choice((random_bytes, numbered, cut))(inside, dice)
    body = kind + bytes(inside)
    data[at : at + 12 + length] = struct.pack(">I", len(inside)) + body + struct.pack(">I", zlib.crc32(body))
    return None


def tagged(data, dice):
    """Change entries of a TIFF's first directory: sizes, counts, offsets, kinds of compression."""
    if data[:4] != b"II*\0":
        return numbered(data, dice)
    at = struct.unpack_from("<I", data, 4)[0]
    if at + 2 > len(data):
        return numbered(data, dice)
    for _ in range(dice.randint(1, 3)):
        entry = at + 2 + 12 * dice.randrange(max(struct.unpack_from("<H", data, at)[0], 1))
        form, place = dice.choice((("<H", 0), ("<H", 2), ("<I", 4), ("<I", 8), ("<I", 8), ("<I", 8)))
        if entry + 12 <= len(data):
            number = dice.choice((*NUMBERS, *SIDES, 100_000)) % (1 << 8 * struct.calcsize(form))
            struct.pack_into(form, data, entry + place, number)
    return None


ANY = (random_bytes, flipped_bits, cut, inserted, deleted, zeroed, swapped, numbered)
OF_DICOM = (element_moved, element_relabelled, element_resized, claimed, framed, resized, reworded, buried, inflated)
OF_RASTER = (chunked, chunked, tagged, tagged, resized)


def damaged(number, samples):
    """Return name and bytes of a file by its number."""
    dice = random.Random(number)  # noqa: S311, RUF100  not for secrets
    name = dice.choice(sorted(samples))
    data = bytearray(samples[name])
    own = OF_DICOM if name.startswith("dicom") else OF_RASTER
    steps = [dice.choice(own if dice.random() < 0.6 else ANY) for _ in range(dice.choice((1, 1, 2, 3)))]
    for step in steps:
        if data:
            step(data, dice)
    return " ".join([name, *(step.__name__ for step in steps)]), bytes(data)


# ---------------------------------------------------------------- reading them


def memory(kind):
    """Bytes that this process holds (VmRSS) or has held at most since it last looked (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def attempt(read, path):
    """Return what a reader makes of a file and the seconds of work that this took; a reason must tell and help."""
    began = time.process_time()
    try:
        made = read(path)
    except DataError as error:
        if not (error.problem and error.hint):
            raise RuntimeError("a reason without words") from error
        made = None
    return made, time.process_time() - began


def whole(path, frame):
    image = read_image(path, frame, window="stored", max_megapixels=MAX_MEGAPIXELS)
    assert preprocess(image, SPEC).shape == (16, 16)
    return image


def attempts(path):
    """Read header, first and last frame, as a scan and a training would; return the result and the longest time."""
    header, longest = attempt(read_header, path)
    images = []
    for frame in {0, header.frames - 1 if header else 0}:
        image, took = attempt(partial(whole, frame=frame), path)
        images.append(image)
        longest = max(longest, took)
        if header and image and header.kind == "dicom" and image.pixels.shape[:2] != (header.rows, header.columns):
            raise RuntimeError(f"{image.pixels.shape} after a header of {header.rows} x {header.columns}")
    return "refused" if None in images else "read", longest


def work(folder, numbers, report):
    """Read files in a process of its own; one line before and one after each tells how far it came."""
    import resource  # not on every system

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    samples = {path.name: path.read_bytes() for path in (folder / "seeds").iterdir()}
    path = report.with_suffix(".file")
    with report.open("a") as out, report.with_suffix(".noise").open("a") as noise:
        for stream in (1, 2):
            os.dup2(noise.fileno(), stream)
        for number in numbers:
            name, data = damaged(number, samples)
            path.write_bytes(data)
            del data
            gc.collect()
            print(json.dumps({"number": number, "name": name, "result": "died"}), file=out, flush=True)
            Path("/proc/self/clear_refs").write_text("5")  # forget the highest memory so far
            before, seconds = memory("VmRSS"), 0.0
            faulthandler.dump_traceback_later(SECONDS_OF_WAITING, exit=True, file=noise)
            try:
                result, seconds = attempts(path)
            except BaseException as error:  # noqa: BLE001, RUF100  what passes here is what the test is about
                result = f"raised {type(error).__name__}: {error}"
            faulthandler.cancel_dump_traceback_later()
            took = {"seconds": seconds, "bytes": memory("VmHWM") - before}
            print(json.dumps({"number": number, "name": name, "result": result} | took), file=out, flush=True)


def results(report):
    """Return the last line about each file; one that has no other than its first killed or stopped the process."""
    lines = report.read_text().splitlines() if report.exists() else []
    return {made["number"]: made for made in map(json.loads, lines)}


def work_through(folder, share):
    """Let processes read the files of a share, a new one after each death."""
    report = folder / f"report-{share}"
    remaining = list(range(share, N_FILES, N_PROCESSES))
    while remaining:
        process = get_context("spawn").Process(target=work, args=(folder, remaining, report), daemon=True)
        process.start()
        process.join()
        done = results(report)
        if process.exitcode:
            last = max(done)
            with report.open("a") as out:
                print(json.dumps(done[last] | {"result": f"died with {process.exitcode}"}), file=out)
        assert set(done) & set(remaining), "no process could be started"
        remaining = [number for number in remaining if number not in done]
    return list(results(report).values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory")
def test_damaged_files_are_images_or_reasons_soon_and_in_bounded_memory(tmp_path):
    (tmp_path / "seeds").mkdir()
    write_seeds(tmp_path / "seeds")
    with ThreadPoolExecutor(N_PROCESSES) as threads:
        shares = threads.map(partial(work_through, tmp_path), range(N_PROCESSES))
    found = [made for share in shares for made in share]
    counts = Counter(made["result"] for made in found)
    slow = [made for made in found if made.get("seconds", 0) > SECONDS_OF_WORK]
    large = [made for made in found if made.get("bytes", 0) > MEMORY_BYTES]
    wrong = [made for made in found if made["result"] not in ("read", "refused")]
    assert len(found) == N_FILES
    assert (wrong, slow, large) == ([], [], [])
    assert min(counts["read"], counts["refused"]) > N_FILES / 10  # damage enough, and not too much


def test_every_seed_of_the_damaged_files_is_an_image_before(tmp_path):
    write_seeds(tmp_path)
    failed = {}
    for path in sorted(tmp_path.glob("*")):
        try:
            read_image(path, 0, window="stored", max_megapixels=MAX_MEGAPIXELS)
        except DataError as error:
            failed[path.name] = error.problem
    assert {name: problem for name, problem in failed.items() if "real" not in name} == {}
