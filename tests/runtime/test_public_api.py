"""The public surface: what `__all__` promises, doctests, and what an import must not pull in."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import automask

PUBLIC = {
    "AutomaskError", "Bundle", "BundleError", "BundleNotFoundError", "CacheInfo", "CancelledError", "DeviceError",
    "EmptyMaskError", "ImageError", "Instance", "Interrupt", "MissingDependencyError", "ParameterError", "Parameters",
    "Query", "Result", "Rle", "Segmenter", "UnknownPromptError", "load",
}  # fmt: skip

RUNTIME = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(automask.__path__, "automask.")
    if not name.startswith(("automask.export", "automask.v1", "automask.__main__"))
)


def test_the_public_names_of_the_package() -> None:
    assert set(automask.__all__) == PUBLIC
    assert all(hasattr(automask, name) for name in PUBLIC)


@pytest.mark.parametrize("name", ["automask", *RUNTIME])
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0
    assert outcome.attempted > 0 or name != "automask"


@pytest.mark.parametrize("name", ["automask", *RUNTIME])
def test_every_module_has_a_docstring_and_all(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        assert getattr(module, public) is not None


def test_the_import_is_light() -> None:
    heavy = {"torch", "onnx", "onnxruntime", "transformers", "grpc", "huggingface_hub", "scipy", "skimage"}
    code = "import sys, automask, automask.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)
