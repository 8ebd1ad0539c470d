"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "automask",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "opencv-python-headless",
    "scipy",
    "torch",
    "transformers",
)


def describe() -> dict[str, str]:
    """Processor, system and the versions of what takes part."""
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    processor = f"{_processor()}, {len(os.sched_getaffinity(0))} threads"
    return {"processor": processor, "system": f"{platform.system()} {platform.machine()}", **versions}


def line() -> str:
    """Say the same in one line."""
    facts = describe()
    processor, system = facts.pop("processor"), facts.pop("system")
    return f"{processor}, {system}; " + ", ".join(f"{name} {version}" for name, version in facts.items())


def _processor() -> str:
    """Ask Linux: `platform.processor` knows nothing there."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")] if cpuinfo.exists() else []
    )
    return names[0].partition(":")[2].strip() if names else platform.processor() or "unknown processor"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
