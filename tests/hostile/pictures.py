"""Pictures that lie, stop early, swell, or are none at all."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

KEPT = ""
PNG = b"\x89PNG\r\n\x1a\n"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _header(width: int, height: int, colour: int = 2) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))


def _png(width: int, height: int, *extra: bytes, colour: int = 2) -> bytes:
    """A whole PNG of zeros: a few hundred bytes for any number of pixels."""
    channels = {2: 3, 6: 4}[colour]
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + channels * width)) for _ in range(height)) + packer.flush()
    return PNG + _header(width, height, colour) + b"".join(extra) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _saved(kind: str, size: tuple[int, int] = (48, 40), **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _put(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def _animation(frames: int) -> bytes:
    pictures = [Image.new("L", (20, 20), shade % 256) for shade in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def _tiff(tag: int, field: slice, new: bytes, data: bytes | None = None) -> bytes:
    """A TIFF one of whose directory's entries says something else."""
    data = bytearray(data or _saved("TIFF"))
    start = struct.unpack_from("<I", data, 4)[0]
    for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, place)[0] == tag:
            data[place + field.start : place + field.stop] = new
    return bytes(data)


def _tiff_loop() -> bytes:
    """A good TIFF whose directory names itself as the next one."""
    data = _saved("TIFF")
    start = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, start)[0]
    return _put(data, start + 2 + 12 * entries, struct.pack("<I", start))


def _float_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((32, 32), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../escape.txt", "x")
    return buffer.getvalue()


def _with_exif(exif: bytes) -> bytes:
    jpeg = _saved("JPEG")
    body = b"Exif\0\0" + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def pictures() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, reason that the ledger must give, `KEPT` where the picture is good despite its looks)."""
    jpeg, png, gif, webp, bmp = (_saved(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP"))
    zeros = zlib.compress(bytes(8 << 20), 9)
    side = slice(2, 12), struct.pack("<HII", 4, 1, 10**6)
    return {
        "png-bomb": (PNG + _header(60_000, 60_000) + png[33:], "too_large"),
        "png-2-gigapixel-side": (PNG + _header(2**31 - 1, 1) + png[33:], "too_large"),
        "png-zero-width": (PNG + _header(0, 40) + png[33:], "unreadable_image"),
        "png-memory": (_png(3500, 3500, colour=6), "decoder_memory"),
        "png-ztxt-bomb": (_png(32, 32, _chunk(b"zTXt", b"a\0\0" + zeros)), "unreadable_image"),
        "png-itxt-bomb": (_png(32, 32, _chunk(b"iTXt", b"a\0\1\0\0\0" + zeros)), "unreadable_image"),
        "png-icc-bomb": (_png(32, 32, _chunk(b"iCCP", b"a\0\0" + zeros)), "unreadable_image"),
        "png-bad-crc": (_put(png, 20, b"\x01"), "unreadable_image"),
        "png-damaged-data": (_put(png, 60, bytes(200)), "unreadable_image"),
        "png-2-gb-chunk": (PNG + _header(32, 32) + struct.pack(">I", 2**31 - 1) + b"IDAT" + b"x", "truncated_image"),
        "png-cut": (png[: len(png) // 2], "truncated_image"),
        "png-magic-alone": (PNG, "truncated_image"),
        "png-one-pixel": (_png(1, 1), "too_small"),
        "png-ribbon": (_png(1, 20_000), "extreme_aspect_ratio"),
        "jpeg-cut": (jpeg[: len(jpeg) // 2], "truncated_image"),
        "jpeg-start-alone": (b"\xff\xd8\xff", "truncated_image"),
        "jpeg-noise": (b"\xff\xd8\xff\xe0" + np.random.default_rng(1).bytes(3000) + b"\xff\xd9", "unreadable_image"),
        "jpeg-zero-size": (_put(jpeg, jpeg.find(b"\xff\xc0") + 5, bytes(4)), "unreadable_image"),
        "jpeg-bomb": (_put(jpeg, jpeg.find(b"\xff\xc0") + 5, b"\xff\xf0\xff\xf0"), "too_large"),
        "jpeg-garbage-exif": (_with_exif(b"II*\0" + b"\xff" * 60), KEPT),
        "jpeg-looping-exif": (_with_exif(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"), KEPT),
        "jpeg-and-zip": (jpeg + _archive(), KEPT),
        "jpeg-behind-pdf": (b"%PDF-1.4\n" + jpeg, "wrong_format"),
        "gif-bomb": (_put(gif, 6, b"\xff\xff\xff\xff"), "too_large"),
        "gif-cut": (gif[: len(gif) // 2], "truncated_image"),
        "gif-and-script": (b"GIF89a/*" + bytes(4) + b"*/=1;alert(1)//;", "unreadable_image"),
        "gif-film": (_animation(150), "too_many_frames"),
        "webp-cut": (webp[: len(webp) // 2], "truncated_image"),
        "webp-4-gb": (_put(webp, 4, b"\xff\xff\xff\xff"), "truncated_image"),
        "webp-riff-alone": (b"RIFF\x04\0\0\0WEBP", "unreadable_image"),
        "bmp-cut": (bmp[: len(bmp) // 2], "truncated_image"),
        "bmp-bomb": (_put(bmp, 18, struct.pack("<ii", 2**30, 2**30)), "too_large"),
        "bmp-palette-claim": (_put(bmp, 28, struct.pack("<H", 77)), "unreadable_image"),
        "tiff-bomb": (_tiff(256, *side, _tiff(257, *side)), "too_large"),
        "tiff-loop": (_tiff_loop(), KEPT),
        "tiff-2-gb-tag": (_tiff(258, slice(4, 8), struct.pack("<I", 2**30)), "unreadable_image"),
        "tiff-65535-tags": (b"II*\0\x08\0\0\0\xff\xff" + bytes(40), "unreadable_image"),
        "tiff-floats": (_float_tiff(), "unreadable_image"),
        "empty": (b"", "wrong_format"),
        "zeros": (bytes(4096), "wrong_format"),
        "text": (b"a caption, not a picture", "wrong_format"),
        "html": (b"<html><body>404</body></html>", "wrong_format"),
        "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "wrong_format"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "wrong_format"),
        "jpeg-2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64), "wrong_format"),
        "icon": (b"\0\0\1\0\1\0" + bytes(64), "wrong_format"),
        "zip": (_archive(), "wrong_format"),
        "pickle": (pickle.dumps({"x": 1}), "wrong_format"),
    }
