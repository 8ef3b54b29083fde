"""Names that stand for something other than a plain file."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def make_odd_files(folder: Path) -> dict[str, tuple[str, str]]:
    """Make them; name -> (path relative to the folder, reason that the ledger must give)."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "ping").symlink_to("pong")
    (folder / "pong").symlink_to("ping")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "random").symlink_to("/dev/random")
    (folder / "terminal").symlink_to("/dev/tty")
    (folder / "folder").mkdir()
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**31)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # a socket's name may have about a hundred bytes
        listener.bind("socket")
        os.chdir(here)
    names = ["pipe", "loop", "ping", "dangling", "zero", "random", "terminal", "folder", "socket", "absent", "", "."]
    odd = {name or "no name": (name, "missing_file") for name in names}
    odd |= {"nul": ("nul\0byte", "missing_file"), "endless name": ("x" * 5000, "missing_file")}
    return {**odd, "sparse 2 GB": ("sparse", "too_large")}
