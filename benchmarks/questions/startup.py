"""From the start of Python to the first mask, each time in a new process, and the size on disk.

Files are in the system's cache; the models are those of the question `pipeline`. The size is that of the wheel and of
the packages that it needs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from harness.machine import ROOT, THREADS, version
from harness.models import clipseg
from harness.options import RunOptions
from harness.photos import photo
from harness.tables import digits, format_spread, table, with_target
from harness.timing import Spread, measure_in_turns

_AUTOMASK = """
import automask
mark("import")
segmenter = automask.load({model!r}, device="cpu", precision={precision!r}, threads=THREADS)
mark("load")
run = lambda data: segmenter.mask(data, "cup").mask
"""
_TRANSFORMERS = """
import io
import numpy, PIL.Image, torch, transformers
mark("import")
from harness.peers import clipseg_in_transformers
masks = clipseg_in_transformers({model!r})
mark("load")
run = lambda data: masks(numpy.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")), ["cup"])
"""
# On Linux perf_counter is one clock for all processes, so a child can continue from its parent's time.
_CHILD = """
import json, sys
from time import perf_counter
THREADS, photo = {threads}, open({photo!r}, "rb").read()
marks = [("start", float(sys.argv[1]))]
mark = lambda name: marks.append((name, perf_counter()))
mark("python")
{code}
for number in range(10):
    run(photo + bytes([number]))
    mark(number)
spans = {{name: 1e3 * (time - before) for (name, time), (_, before) in zip(marks[1:], marks)}}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({{
    "import, ms": spans["import"], "load, ms": spans["load"], "first mask, ms": spans[0], "tenth mask, ms": spans[9],
    "python to first mask, s": marks[4][1] - marks[0][1],
    "resident, MB": int(status["VmRSS"].split()[0]) / 1e3, "most, MB": int(status["VmHWM"].split()[0]) / 1e3,
}}))
"""
_EMBEDDED = "embedded"


def scripts(options: RunOptions) -> dict[str, str]:
    """Return the code of each contender's process."""
    checkpoint, bundle = map(str, clipseg(options, "fp32", "int8"))
    return {
        _EMBEDDED: _AUTOMASK.format(model="default", precision="int8"),
        "CLIPSeg int8": _AUTOMASK.format(model=bundle, precision="int8"),
        "CLIPSeg fp32": _AUTOMASK.format(model=bundle, precision="fp32"),
        "CLIPSeg in transformers": _TRANSFORMERS.format(model=checkpoint),
    }


def run_once(code: str, photo_file: Path) -> dict[str, float]:
    """Run a process that measures itself, and return its figures."""
    script = _CHILD.format(threads=THREADS, photo=str(photo_file), code=code)
    command = [sys.executable, "-c", script, str(perf_counter())]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def time_processes(options: RunOptions) -> dict[str, dict[str, Spread]]:
    """Run each contender's process in turn."""
    file = options.folder / "photo.jpg"
    file.write_bytes(photo(640, 480))
    jobs = {name: lambda _, code=code: run_once(code, file) for name, code in scripts(options).items()}
    return measure_in_turns(jobs, options.pick(7, 1), warm=options.warm)


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the source, because building leaves folders behind."""
    source = folder / "source"
    for name in ("runtime", "export", "service", "proto"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    done = subprocess.run([*command, str(folder), str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the wheel cannot be built: {done.stderr}")
    return next(folder.glob("automask-*.whl"))


def dependency_sizes(extra: str = "cpu") -> dict[str, float]:
    """Return the megabytes on disk of every installed distribution that `automask[cpu]` needs."""
    sizes: dict[str, float] = {}
    pending = _requirements("automask", extra)
    while pending:
        name = pending.pop()
        if name in sizes:
            continue
        files = metadata.files(name) or []
        sizes[name] = sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file()) / 1e6
        pending += _requirements(name)
    return {name: round(size, 1) for name, size in sorted(sizes.items(), key=lambda item: -item[1])}


def _requirements(name: str, extra: str = "") -> list[str]:
    """Return the installed requirements of a distribution, with one of its extras."""
    found = []
    for line in metadata.requires(name) or []:
        requirement, _, marker = line.partition(";")
        wanted = re.search(r"extra\s*==\s*['\"](.+?)['\"]", marker)
        bare = re.split(r"[\s<>=!~\[(]", requirement.strip(), maxsplit=1)[0]
        if (wanted is None or wanted[1] == extra) and version(bare):
            found.append(re.sub(r"[-_.]+", "-", bare).lower())
    return found


def sizes(folder: Path) -> dict[str, Any]:
    """Return the megabytes of the wheel, of its unpacked content, and of its dependencies."""
    folder.mkdir()
    built = build_wheel(folder)
    with zipfile.ZipFile(built) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    return {
        "wheel": round(built.stat().st_size / 1e6, 1),
        "unpacked": round(unpacked / 1e6, 1),
        "dependencies": dependency_sizes(),
    }


def measure(options: RunOptions) -> dict[str, Any]:
    """Time the starts and measure the sizes."""
    return {"processes": time_processes(options), "megabytes": sizes(options.folder / "wheel")}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    processes, sizes_mb = figures["processes"], figures["megabytes"]
    columns = list(processes[_EMBEDDED])
    rows = [[name, *(format_spread(one[key]) for key in columns)] for name, one in processes.items()]
    first, imports = processes[_EMBEDDED]["python to first mask, s"], processes[_EMBEDDED]["import, ms"]
    others = sizes_mb["dependencies"]
    parts = ", ".join(f"{name} {digits(size)}" for name, size in list(others.items())[:3])
    return (
        "**Start** (a new process each time; 640×480 photos, all of them new)\n\n"
        + table(["", *columns], rows)
        + "\nThe embedded model returns its first mask after "
        f"{with_target(first['median'], 1.5, at_least=False)} s, of which `import automask` takes "
        f"{with_target(imports['median'] / 1e3, 0.4, at_least=False)} s. On the disk: the wheel "
        f"{digits(sizes_mb['wheel'])} MB, installed {digits(sizes_mb['unpacked'])} MB, and the {len(others)} packages "
        f"that `.[cpu]` needs {digits(sum(others.values()))} MB, of which {parts}.\n"
    )
