"""The one decoder of pictures: ingest runs it within limits in the sandbox, the encoders run it on what was kept.

Whatever the file holds (palette, alpha, CMYK, 16 bit, a turned camera, an animation), what comes out is its first
frame, upright, in 8-bit RGB; what shines through is white.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from multimodal.errors import MediaError
from multimodal.ingest.formats import image_ends_early, image_format
from multimodal.ingest.options import CheckOptions
from multimodal.ingest.reasons import Reason

# All that Pillow's decoders were seen or are documented to raise on damaged bytes.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, ArithmeticError, LookupError, AttributeError,
    RuntimeError, AssertionError, struct.error,
)  # fmt: skip


def decode_picture(
    data: bytes, limits: CheckOptions | None = None, measures: dict[str, float] | None = None
) -> Image.Image:
    """The first frame, whole, upright, in RGB.

    Args:
        data: a picture file of a known format, told by its first bytes.
        limits: what the file's header may state, looked at before any pixel is made; None for bytes that passed.
        measures: receives what the limits are held against, refused or not.

    Raises:
        MediaError: the bytes are no picture, are beyond a limit, or cannot be decoded to the end.
        MemoryError: the pixels do not fit into the memory that there is.
    """
    name = image_format(data)
    if name is None:
        raise MediaError(Reason.WRONG_FORMAT, f"no picture of a known format; starts with {data[:12]!r}")
    try:
        with Image.open(io.BytesIO(data), formats=[name]) as image:
            if limits is not None:
                _check_header(image, limits, {} if measures is None else measures)
            image.load()
            return _to_rgb(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(Reason.TOO_LARGE, str(error)) from error
    except DECODE_ERRORS as error:
        is_cut = image_ends_early(name, data) or "truncated" in str(error)
        reason = Reason.TRUNCATED_IMAGE if is_cut else Reason.UNREADABLE_IMAGE
        # Pillow names the buffer that it read from by its address, which is another one in every run.
        is_odd = isinstance(error, UnidentifiedImageError)
        problem = "a damaged header" if is_odd else str(error) or type(error).__name__
        raise MediaError(reason, f"{name} of {len(data)} bytes: {problem}") from error


def _check_header(image: Image.Image, limits: CheckOptions, measures: dict[str, float]) -> None:
    width, height = image.size
    measures |= {"pixels": width * height, "aspect_ratio": max(width, height) / max(1, min(width, height))}
    if width * height > limits.max_image_pixels:
        raise MediaError(Reason.TOO_LARGE, f"{width} x {height} pixels, at most {limits.max_image_pixels} in all")
    if width * height < limits.min_image_pixels:
        raise MediaError(Reason.TOO_SMALL, f"{width} x {height} pixels, at least {limits.min_image_pixels} in all")
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        detail = f"{width} x {height} pixels, one side at most {limits.max_aspect_ratio:g} times the other"
        raise MediaError(Reason.EXTREME_ASPECT_RATIO, detail)
    frames = measures["frames"] = getattr(image, "n_frames", 1)
    if frames > limits.max_frames:
        raise MediaError(Reason.TOO_MANY_FRAMES, f"{frames} frames, at most {limits.max_frames}")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera says. Damaged EXIF says nothing: the picture itself is sound."""
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except DECODE_ERRORS:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels do not say what is white")
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion cuts everything above 255 off; the high byte is what a viewer shows."""
    levels = np.clip(np.asarray(image), 0, 65535) >> 8
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
