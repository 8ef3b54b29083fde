"""A sandbox worker whose decoder does what its files say: hang, crash, swell, leave. Run by the tests in its stead."""

import ctypes
import os
import time
import warnings

from multimodal.errors import MediaError
from multimodal.ingest.media import MediaFacts
from multimodal.ingest.sandbox_worker import main


def obey(data, modality, checks):
    """The orders; any other bytes are a good file."""
    if data == b"hang":
        while True:
            time.sleep(3600)
    if data == b"crash":
        ctypes.string_at(0)
    if data == b"leave":
        os._exit(3)
    if data == b"swell":
        bytearray(1 << 40)
    if data == b"swell slowly":
        blocks = []
        while True:
            blocks.append(bytearray(1 << 20))
    if data == b"refuse":
        raise MediaError("wrong_format", "as ordered")
    warnings.warn("nobody hears this", stacklevel=1)
    return MediaFacts()


if __name__ == "__main__":
    main(obey)
