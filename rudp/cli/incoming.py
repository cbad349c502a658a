"""A file on its way in: NAME.part until it is whole and checked, then NAME.

Knows: which names are safe, what is there already, how far an interrupted file got, and that NAME appears
only with all its bytes on disk. Refuses to know: where the bytes come from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO, Final

from rudp.cli.common import Failure, reason, size_text

__all__ = ["Incoming", "hash_prefix", "safe_name"]

LONGEST_NAME: Final = 200  # bytes of UTF-8, so that suffixes fit where 255 is the limit
BLOCK: Final = 1024 * 1024
PART: Final = ".part"
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices of Windows


def safe_name(name: str) -> str:
    """A name within one folder, whatever the sender called its file; the same for the same name."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    last = "".join(char if char.isprintable() else "_" for char in last)
    last = _FORBIDDEN.sub("_", last).strip(" ").rstrip(".")
    if last.startswith("."):
        last = "_" + last[1:]
    if _RESERVED.fullmatch(last) or last.lower().endswith(PART):
        last += "_"
    while len(last.encode("utf-8", "replace")) > LONGEST_NAME:
        last = last[:-1]
    return last.encode("utf-8", "replace").decode() or "unnamed"


def hash_prefix(file: BinaryIO, size: int) -> hashlib._Hash:
    """SHA-256 of the first `size` bytes, where the file then stands. Raises EOFError if it is shorter."""
    file.seek(0)
    digest = hashlib.sha256()
    while size > 0:
        block = file.read(min(size, BLOCK))
        if not block:
            raise EOFError("the file is shorter than it was")
        digest.update(block)
        size -= len(block)
    return digest


class Incoming:
    """One file being received into `folder`. Every method may raise Failure, with a text for both sides."""

    def __init__(self, folder: Path, name: str, *, overwrite: bool) -> None:
        self.name = safe_name(name)
        self._overwrite = overwrite
        self._final = folder / self.name
        self._part = folder / (self.name + PART)
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._keep = False
        self.size = 0

    def open(self, size: int | None, *, resumable: bool) -> None:
        """Make ready; afterwards `size` bytes of an interrupted transfer are there, `hexdigest` is theirs."""
        self._check_final()
        if self._part.is_symlink() or (self._part.exists() and not self._part.is_file()):
            raise Failure(f"{self._part.name} is there already and is no plain file")
        try:
            self._file = self._part.open("r+b" if self._part.exists() else "w+b")
            self._keep = resumable
            self.size = self._file.seek(0, os.SEEK_END)
            if not resumable or size is None or self.size > size:
                self.restart()
            else:
                self._digest = hash_prefix(self._file, self.size)
            free = shutil.disk_usage(self._part.parent).free
        except OSError as error:
            raise Failure(f"cannot write {self._part.name}: {reason(error)}") from error
        if size is not None and size - self.size > free:
            raise Failure(f"{size_text(size - self.size)} are needed, {size_text(free)} are free")

    @property
    def hexdigest(self) -> str:
        """SHA-256 of what is there."""
        return self._digest.hexdigest()

    def restart(self) -> None:
        """Forget what is there."""
        assert self._file is not None
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            raise Failure(f"cannot write {self._part.name}: {reason(error)}") from error
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append."""
        assert self._file is not None
        try:
            self._file.write(data)
        except OSError as error:
            raise Failure(f"cannot write {self._part.name}: {reason(error)}") from error
        self._digest.update(data)
        self.size += len(data)

    def finish(self, size: int, hexdigest: str) -> None:
        """All is there: compare, put it on disk, and give it its name."""
        assert self._file is not None
        if size != self.size or hexdigest != self.hexdigest:
            self._keep = False
            raise Failure(f"{self.name}: what arrived differs from what was sent (size or SHA-256)")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
            self._check_final()
            self._part.replace(self._final)
        except OSError as error:
            raise Failure(f"cannot save {self.name}: {reason(error)}") from error

    def close(self) -> bool:
        """Let go. What cannot be resumed is removed; returns whether a part was kept."""
        if self._file is None:
            return False
        kept = self._keep and self.size > 0
        try:
            self._file.close()
        except OSError:
            kept = False  # what was still to be written is lost, and with it the end of the part
        self._file = None
        if not kept:
            self._part.unlink(missing_ok=True)
        return kept

    def _check_final(self) -> None:
        if self._final.is_dir():
            raise Failure(f"{self.name} is there already, and is a folder")
        if not self._overwrite and (self._final.exists() or self._final.is_symlink()):
            raise Failure(f"{self.name} is there already (rudp receive --overwrite replaces it)")
