"""A sandbox worker that hangs while it makes an extra of what its file says. Run by the tests."""

import time

from multimodal.ingest.media import Extra, MediaFacts
from multimodal.ingest.sandbox_worker import main


def check(data, modality, checks, extra=Extra.NONE):
    """The orders; any other bytes are a good file."""
    while data == b"hang" and extra is Extra.FINGERPRINT:
        time.sleep(3600)
    return MediaFacts({}, "", "made")


if __name__ == "__main__":
    main(check)
