"""The machine, the installed versions and the commit that figures belong to."""

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
    "pymatting",
    "ray",
)
_GENERATED = (
    "benchmarks/results",
    "docs/benchmarks.md",
    "docs/matting.md",
    "docs/models.md",
    "docs/sam3.md",
    "docs/scaling.md",
    "docs/*.svg",
)


def hardware() -> dict[str, str | int | float]:
    """Return the processor, its threads, the memory in GB, the system and the GPU."""
    facts: dict[str, str | int | float] = {
        "processor": _processor(),
        "threads": THREADS,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }
    gpu = _output(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return {**facts, "gpu": gpu} if gpu else facts


def has_vnni() -> bool:
    """Whether the processor multiplies int8 with VNNI, by what Linux says; False on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "vnni" in cpuinfo.read_text()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that are measured."""
    installed = {name: found for name in _PACKAGES if (found := version(name))}
    return {"python": platform.python_version(), **installed}


def commit() -> str:
    """Return the current commit, with a `+` if tracked files differ from it; what the report writes does not count."""
    excluded = [f":(exclude){path}" for path in _GENERATED]
    changed = _output(["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *excluded])
    return (_output(["git", "rev-parse", "--short=12", "HEAD"]) or "unknown") + ("+" if changed else "")


def summary() -> str:
    """Return hardware and versions in one line."""
    return ", ".join(f"{name} {value}" for name, value in (hardware() | versions()).items())


def _processor() -> str:
    """Read /proc/cpuinfo: on Linux `platform.processor` is often empty."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [row for row in cpuinfo.read_text().splitlines() if row.startswith("model name")] if cpuinfo.exists() else []
    )
    return names[0].partition(":")[2].strip() if names else platform.processor() or "unknown processor"


def _output(command: list[str]) -> str:
    """Return the output of a command; empty if it is not installed or fails."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def version(name: str) -> str:
    """Return the version of a distribution; empty if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
