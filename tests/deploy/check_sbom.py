"""Checks the list of software that `make sbom` wrote: ``check_sbom.py FILE``; .ci/run calls it."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = ("cpu", "text", "service", "http")


def normalized(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def main(path: Path) -> None:
    sbom = json.loads(path.read_text())
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["name"]) == ("CycloneDX", "automask")
    listed = {normalized(one["name"]): one for one in sbom["components"]}
    assert all(one["version"] and one["purl"].startswith("pkg:pypi/") for one in listed.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    names = {normalized(re.split(r"[\[<>=;, ]", one)[0]) for one in wanted} - {"automask"}
    assert names <= set(listed), sorted(names - set(listed))
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", (ROOT / "deploy/constraints.txt").read_text(), re.MULTILINE))
    assert {name: listed[name]["version"] for name in pinned.keys() & listed.keys()}.items() <= pinned.items()
    print(f"{path}: {len(listed)} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
