"""Names of temporary files that say whose they are, so that those of killed processes can be removed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

import psutil

_NAME = re.compile(r"selfinstruct-[a-z]+-(\d{1,9})-[^-]+")


def prefix(purpose: str) -> str:
    """Return how the names of this process's temporary files begin; remove those that killed processes left.

    Args:
        purpose: one word of small letters.
    """
    remove()
    return f"selfinstruct-{purpose}-{os.getpid()}-"


def remove() -> None:
    """Remove this user's temporary files and folders of processes that are no more."""
    for path in Path(tempfile.gettempdir()).glob("selfinstruct-*"):
        named = _NAME.fullmatch(path.name)
        with contextlib.suppress(OSError):  # Another process removes it, too.
            if named and path.lstat().st_uid == os.getuid() and not psutil.pid_exists(int(named[1])):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
