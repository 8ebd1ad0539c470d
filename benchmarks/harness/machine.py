"""What the figures were measured on, and of which state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
THREADS = len(os.sched_getaffinity(0))
_PACKAGES = (
    "automask",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "opencv-python-headless",
    "scipy",
    "grpcio",
    "psycopg",
    "torch",
    "transformers",
    "rembg",
    "ray",
    "psycopg",
)
_MADE_HERE = ("benchmarks/results", "README.md", "docs/scaling.md", "docs/*.svg")


def hardware() -> dict[str, str | int | float]:
    """Name the processor, its threads, the memory and the GPU."""
    facts: dict[str, str | int | float] = {
        "processor": _processor(),
        "threads": THREADS,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }
    gpu = _said(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return {**facts, "gpu": gpu} if gpu else facts


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    installed = {name: found for name in _PACKAGES if (found := version(name))}
    return {"python": platform.python_version(), **installed}


def commit() -> str:
    """Give the commit that was measured; `+` where files were changed since, other than those that figures go into."""
    excluded = [f":(exclude){path}" for path in _MADE_HERE]
    changed = _said(["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *excluded])
    return (_said(["git", "rev-parse", "--short=12", "HEAD"]) or "unknown") + ("+" if changed else "")


def line() -> str:
    """Say the same in one line."""
    return ", ".join(f"{name} {value}" for name, value in (hardware() | versions()).items())


def _processor() -> str:
    """Ask Linux: `platform.processor` knows nothing there."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")] if cpuinfo.exists() else []
    )
    return names[0].partition(":")[2].strip() if names else platform.processor() or "unknown processor"


def _said(command: list[str]) -> str:
    """Give what a command says, or nothing where it is not there or fails."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def version(name: str) -> str:
    """Version of an installed distribution; empty where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
