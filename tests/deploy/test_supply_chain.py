"""deploy/constraints.txt has one version, which pyproject.toml allows, of everything that is deployed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.dockerfiles import DEPLOY, DOCKERFILES, instructions

PROJECT = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
DEPLOYED = ("cpu", "gpu", "hub", "text", "service", "http", "postgres", "ray", "otel")
RUNTIMES = {"onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"}
CONSTRAINTS = [
    Requirement(line)
    for line in (DEPLOY / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def own_requirements() -> Iterator[Requirement]:
    for one in map(Requirement, [*PROJECT["dependencies"], *(one for extra in DEPLOYED for one in EXTRAS[extra])]):
        if one.name != "automask":
            yield one


def pins(name: str) -> dict[str, str]:
    """Return the versions of a package by the marker under which they hold."""
    found = [one for one in CONSTRAINTS if canonicalize_name(one.name) == canonicalize_name(name)]
    return {str(one.marker): next(iter(one.specifier)).version for one in found}


@pytest.mark.parametrize("requirement", [*own_requirements()], ids=str)
def test_every_requirement_has_a_version_that_its_range_admits(requirement: Requirement) -> None:
    versions = pins(requirement.name)
    assert versions
    assert all(requirement.specifier.contains(one) for one in versions.values()), versions


def test_no_extra_allows_the_version_of_onnxruntime_that_cannot_open_the_hub_cache() -> None:
    runtimes = [one for extra in EXTRAS.values() for one in map(Requirement, extra) if one.name in RUNTIMES]
    assert {one.name for one in runtimes} == RUNTIMES
    assert not any(one.specifier.contains("1.24.1") for one in runtimes)


def test_only_exact_versions_without_urls_or_extras() -> None:
    for one in CONSTRAINTS:
        (specifier,) = one.specifier
        assert (specifier.operator, one.url, one.extras) == ("==", None, set())


def test_what_the_requirements_require_has_a_version_too() -> None:
    """Follows the packages that are installed here in the version of the file."""
    waiting = [(one.name, extra) for one in own_requirements() for extra in ("", *one.extras)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        versions = pins(name)
        assert versions, f"{name} is missing"
        if installed(name) in versions.values():
            for requirement in map(Requirement, requires(name) or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    waiting += [(requirement.name, more) for more in ("", *requirement.extras)]
    assert len({name for name, _ in seen}) > len({one.name for one in own_requirements()})


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # for a GPU, or for another system
        return None


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_images_install_these_versions(name: str) -> None:
    (command,) = [
        value for word, value in instructions(name) if word == "RUN" and "pip" in value and "install" in value
    ]
    assert "--constraint deploy/constraints.txt" in command
    assert ("COPY", "deploy/constraints.txt deploy/constraints.txt") in instructions(name)
