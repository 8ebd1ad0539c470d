"""From nothing to the first mask: every contender in a process of its own, a fresh one each time, by turns.

Files are in the system's cache; the models are those of the question `pipeline`. Also what is put on the disk: the
wheel, and what it needs.
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
from harness.photos import photo
from harness.turns import Spread, digits, figures_by_turns, show, table, target
from harness.workplace import Workplace

_AUTOMASK = """
import automask
mark("import")
segmenter = automask.load({model!r}, device="cpu", precision={precision!r}, threads=THREADS)
mark("load")
ask = lambda data: segmenter.mask(data, "cup").mask
"""
_TRANSFORMERS = """
import io
import numpy, PIL.Image, torch, transformers
mark("import")
from peers import clipseg_in_transformers
masks = clipseg_in_transformers({model!r})
mark("load")
ask = lambda data: masks(numpy.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")), ["cup"])
"""
# perf_counter is the system's own clock on Linux: it goes on from one process to the next.
_CHILD = """
import json, sys
from time import perf_counter
THREADS, photo = {threads}, open({photo!r}, "rb").read()
marks = [("start", float(sys.argv[1]))]
mark = lambda name: marks.append((name, perf_counter()))
mark("python")
{code}
for number in range(10):
    ask(photo + bytes([number]))
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


def contenders(workplace: Workplace) -> dict[str, str]:
    """Say what each process runs."""
    checkpoint, bundle = map(str, clipseg(workplace, "fp32", "int8"))
    return {
        _EMBEDDED: _AUTOMASK.format(model="default", precision="int8"),
        "CLIPSeg int8": _AUTOMASK.format(model=bundle, precision="int8"),
        "CLIPSeg fp32": _AUTOMASK.format(model=bundle, precision="fp32"),
        "CLIPSeg in transformers": _TRANSFORMERS.format(model=checkpoint),
    }


def once(code: str, photo_file: Path) -> dict[str, float]:
    """Start a process and let it measure itself."""
    script = _CHILD.format(threads=THREADS, photo=str(photo_file), code=code)
    command = [sys.executable, "-c", script, str(perf_counter())]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", check=True, capture_output=True, text=True)
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def processes(workplace: Workplace) -> dict[str, dict[str, Spread]]:
    """Start each, by turns."""
    file = workplace.folder / "photo.jpg"
    file.write_bytes(photo(640, 480))
    jobs = {name: lambda _, code=code: once(code, file) for name, code in contenders(workplace).items()}
    return figures_by_turns(jobs, workplace.pick(7, 1))


def wheel(folder: Path) -> Path:
    """Build the wheel, of a copy, for building leaves folders behind."""
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


def needed(extra: str = "cpu") -> dict[str, float]:
    """Megabytes on the disk of every distribution that `automask[cpu]` pulls in here."""
    sizes: dict[str, float] = {}
    waiting = _requirements("automask", extra)
    while waiting:
        name = waiting.pop()
        if name in sizes:
            continue
        files = metadata.files(name) or []
        sizes[name] = sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file()) / 1e6
        waiting += _requirements(name)
    return {name: round(size, 1) for name, size in sorted(sizes.items(), key=lambda item: -item[1])}


def _requirements(name: str, extra: str = "") -> list[str]:
    """Names of what a distribution requires and what is installed; of its extras only `extra`."""
    found = []
    for line in metadata.requires(name) or []:
        requirement, _, marker = line.partition(";")
        asked = re.search(r"extra\s*==\s*['\"](.+?)['\"]", marker)
        bare = re.split(r"[\s<>=!~\[(]", requirement.strip(), maxsplit=1)[0]
        if (asked is None or asked[1] == extra) and version(bare):
            found.append(re.sub(r"[-_.]+", "-", bare).lower())
    return found


def sizes(folder: Path) -> dict[str, Any]:
    """Megabytes of the wheel, of what is inside it, and of what it needs."""
    folder.mkdir()
    built = wheel(folder)
    with zipfile.ZipFile(built) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    return {
        "wheel": round(built.stat().st_size / 1e6, 1),
        "unpacked": round(unpacked / 1e6, 1),
        "dependencies": needed(),
    }


def measure(workplace: Workplace) -> dict[str, Any]:
    """Time the starts, and weigh the files."""
    return {"processes": processes(workplace), "megabytes": sizes(workplace.folder / "wheel")}


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    ran, weighed = figures["processes"], figures["megabytes"]
    columns = list(ran[_EMBEDDED])
    rows = [[name, *(show(one[key]) for key in columns)] for name, one in ran.items()]
    first, imports = ran[_EMBEDDED]["python to first mask, s"], ran[_EMBEDDED]["import, ms"]
    others = weighed["dependencies"]
    parts = ", ".join(f"{name} {digits(size)}" for name, size in list(others.items())[:3])
    return (
        "**Start** (each a fresh process; 640×480 photos, all of them new)\n\n"
        + table(["", *columns], rows)
        + "\nThe embedded model's first mask is there after "
        f"{target(first['median'], 1.5, at_least=False)} s, of which `import automask` takes "
        f"{target(imports['median'] / 1e3, 0.4, at_least=False)} s. On the disk: the wheel "
        f"{digits(weighed['wheel'])} MB, installed {digits(weighed['unpacked'])} MB, and the {len(others)} packages "
        f"that `.[cpu]` needs {digits(sum(others.values()))} MB, of which {parts}.\n"
    )
