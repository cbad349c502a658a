"""What results say of the machine that they were made on: enough to compare them, not which machine it was."""

from __future__ import annotations

import os
import platform
import re
from typing import Any

__all__ = ["machine", "system"]


def system() -> str:
    """The system and its kernel's major and minor version, as in "Linux 6.18": figures don't depend on the build."""
    version = re.match(r"\d+(\.\d+)?", platform.release())
    return f"{platform.system()} {version[0]}" if version else platform.system()


def machine() -> dict[str, Any]:
    """What each benchmark's JSON has of it."""
    return {
        "python": platform.python_version(),
        "system": f"{system()}, {platform.machine()}",
        "cores": os.cpu_count(),
    }
