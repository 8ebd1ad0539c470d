"""Verdicts: kept in the cache folder, so that a proof runs once for each model, device and precision of a machine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..bundle import MANIFEST, Bundle
from ..devices import DEVICES, library_versions
from ..folders import cache_folder
from .judging import Check

__all__ = ["Race", "Verdict", "Verdicts"]

_log = logging.getLogger(__name__)
_FORMAT = 1  # of these files, and of the comparison


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a proof found.

    Attributes
    ----------
    checks
        The figures.
    milliseconds
        What the questions took.
    """

    checks: Sequence[Check]
    milliseconds: float

    @property
    def is_right(self) -> bool:
        """Whether every figure is within its limit."""
        return all(check.holds for check in self.checks)


@dataclass(frozen=True, slots=True)
class Race:
    """How a device compares with the CPU.

    Attributes
    ----------
    is_faster
        Whether it is faster, by more than noise.
    milliseconds
        What all graphs take there.
    problem
        Why it cannot be used; empty if it can.
    """

    is_faster: bool
    milliseconds: float = 0.0
    problem: str = ""


class Verdicts:
    """The kept verdicts on one bundle on one device of this machine.

    They are those of the same files, provider, driver and processor only; a change of any of them is a new proof.

    Parameters
    ----------
    bundle
        The bundle.
    device
        A name of the table of devices.
    """

    def __init__(self, bundle: Bundle, device: str) -> None:
        row = DEVICES[device]
        self._subject = {
            "format": _FORMAT,
            "bundle": hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest(),
            "device": device,
            "providers": [[name, dict(options)] for name, options in row.providers()],
            "versions": {**library_versions(device), "numpy": np.__version__, "opencv": cv2.__version__},
            "hardware": row.identify(),
        }
        key = hashlib.sha256(json.dumps(self._subject, sort_keys=True).encode()).hexdigest()
        self.path = cache_folder() / "proofs" / f"{key[:32]}.json"
        self._kept = self._read()

    @property
    def order(self) -> tuple[str, ...]:
        """Precisions by measured speed, the faster one first; empty if none were compared."""
        return tuple(self._kept.get("order", ()))

    @property
    def precisions(self) -> Mapping[str, Verdict]:
        """The kept verdicts, all of them right, by precision."""
        return {
            precision: Verdict([Check(*one) for one in kept["checks"]], kept["milliseconds"])
            for precision, kept in self._kept.get("proven", {}).items()
        }

    def keep(self, precision: str, verdict: Verdict) -> None:
        """Keep a right verdict."""
        checks = [[check.name, check.value, check.limit] for check in verdict.checks]
        proven = {**self._kept.get("proven", {})}
        proven[precision] = {"checks": checks, "milliseconds": round(verdict.milliseconds, 1)}
        self._write({"proven": proven})

    def keep_order(self, order: Sequence[str]) -> None:
        """Keep an order by speed."""
        self._write({"order": list(order)})

    def race(self, against: Verdicts, precision: str | None) -> Race | None:
        """Return the kept race against the CPU in a precision, None for the fastest one; None if there is none."""
        kept = self._kept.get("race", {})
        if kept.get("against") != against.path.name or kept.get("precision") != precision:
            return None
        return Race(bool(kept["is_faster"]), float(kept["milliseconds"]), str(kept["problem"]))

    def keep_race(self, race: Race, against: Verdicts, precision: str | None) -> None:
        """Keep a race; another version of anything on the other side makes it void."""
        self._write({"race": {"against": against.path.name, "precision": precision, **asdict(race)}})

    def forget(self) -> None:
        """Remove what is kept."""
        self._kept = {}
        with suppress(OSError):
            self.path.unlink()

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["subject"] != json.loads(json.dumps(self._subject)):
                return {}
            for kept in content.get("proven", {}).values():
                [Check(str(name), float(value), float(limit)) for name, value, limit in kept["checks"]]
                float(kept["milliseconds"])
            tuple(map(str, content.get("order", ())))
            if "race" in content:
                race = content["race"]
                Race(bool(race["is_faster"]), float(race["milliseconds"]), str(race["problem"]))
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            return {}  # not proven yet, or damaged: then it is proven again
        kept_content: dict[str, Any] = content
        return kept_content

    def _write(self, change: Mapping[str, Any]) -> None:
        self._kept = {**self._kept, **change}
        content = {**self._read(), **self._kept, "subject": self._subject}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Other processes read and write at the same time: each sees a whole file.
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=".", suffix=".tmp")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=1)
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink()
                raise
        except OSError as error:
            _warn_once(str(self.path.parent), str(error))


@cache
def _warn_once(folder: str, reason: str) -> None:
    _log.warning("cannot keep in %s that a model was proven, so each load proves it again: %s", folder, reason)
