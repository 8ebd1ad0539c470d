"""SAM 3 in `automask export`, where its packages are missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from automask.errors import MissingDependencyError
from automask.export.cli import export


@pytest.mark.parametrize("model", ["sam3", "sam3-lite-text", "facebook/sam3", "a folder"])
def test_without_its_packages_the_error_has_both_commands(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These tests run in the environment of the other models, whose transformers has no SAM 3."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if model == "a folder":
        model = str(tmp_path / "checkpoint")
        Path(model).mkdir()
        (Path(model) / "config.json").write_text(json.dumps({"model_type": "sam3"}))
    done = CliRunner().invoke(export, [model, "-o", str(tmp_path / "out"), "--accept-licence"])
    assert isinstance(done.exception, MissingDependencyError)
    message = str(done.exception)
    assert "SAM 3 needs transformers 5.17 or newer, found 4." in message
    assert "python3 -m venv sam3-export && sam3-export/bin/pip install 'automask[cpu,export-sam3]'" in message
    shutil.rmtree(tmp_path / "checkpoint", ignore_errors=True)
    assert not any(tmp_path.iterdir())


def test_the_list_says_what_the_licence_forbids() -> None:
    listed: Any = CliRunner().invoke(export, ["--list"])
    assert "facebook/sam3, 3440 MB, images of 1008 px, SAM License, gated (not: military, nuclear, espionage" in (
        " ".join(listed.output.split())
    )
