"""Opening the graphs of a bundle: on which device, in which precision, and whether they compute what they should there.

The first time, a model answers the questions of its proof; a right verdict is kept, and later loads cost nothing. What
was named is used or refused. What was not, device or precision, goes on to the next one, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

from .bundle import Bundle, sha256
from .devices import AUTO, CPU, find_rivals, pick_device
from .devices.tuning import DEFAULT, Tuning
from .errors import BundleError, DeviceError
from .graphs import Progress, open_graph, open_graphs, silent
from .plans import Plan, find_plans, may_compare, sort_plans
from .proof import Proof, Race, Recording, Runs, Timing, Verdict, Verdicts, compare, judge, read_proof, record
from .proof.document import PHOTO
from .proof.speed import slowest
from .running import Standing
from .session import Session

__all__ = [
    "Opened",
    "open_bundle_on",
    "predict_device",
    "prove_plan",
    "usable_proof",
]

_log = logging.getLogger(__name__)

_SLOW_SECONDS = 0.5  # a proof that takes longer is worth a line


@dataclass(frozen=True, slots=True)
class Opened:
    """Open graphs.

    Attributes
    ----------
    plan
        How they were opened.
    sessions
        The graphs by role.
    standing
        ``proven``: they compute here what they should. ``not proven``: the bundle has no proof. ``skipped``: the caller
        did not want it to run.
    warnings
        One sentence for each device or precision that came first and is not used.
    """

    plan: Plan
    sessions: dict[str, Session]
    standing: Standing
    warnings: tuple[str, ...] = ()


def open_bundle_on(
    bundle: Bundle,
    device: str,
    precision: str | None,
    tuning: Tuning = DEFAULT,
    *,
    proves: bool,
    progress: Progress = silent,
) -> Opened:
    """Open a bundle on the first device and in the first precision that work.

    Parameters
    ----------
    bundle
        The bundle.
    device
        One of `device_names`.
    precision
        A precision of the bundle; None for the fastest one here that is right.
    tuning
        How the graphs use the device.
    proves
        Whether the bundle is proven, unless it was before.
    progress
        Called with a line after each step.

    Raises
    ------
    DeviceError
        Nothing that may be used works, or computes what it should.
    BundleError
        A file is damaged.
    """
    picked = pick_device(device)
    opener = _Opener(bundle, precision, tuning, progress, proves=proves)
    if device != AUTO or picked != CPU:
        return opener.open_first([picked] if device != AUTO else [picked, CPU])
    rivals = find_rivals() if opener.can_prove else []
    return opener.open_fastest(rivals) if rivals else opener.open_first([CPU])


def predict_device(bundle: Bundle, device: str) -> str:
    """Return the device that `open_bundle_on` would take; of devices that were not measured yet, the CPU.

    Raises
    ------
    ParameterError, DeviceError
        As `pick_device` does.
    """
    picked = pick_device(device)
    if device != AUTO or picked != CPU or bundle.proof is None:
        return picked
    kept = Verdicts(bundle, CPU)
    races = {rival: Verdicts(bundle, rival).race(kept, None) for rival in find_rivals()}
    return next(iter(_winners(races)), CPU)


def _winners(races: Mapping[str, Race | None]) -> list[str]:
    """Return the devices that are faster than the CPU, the fastest one first."""
    faster = {device: race.milliseconds for device, race in races.items() if race is not None and race.is_faster}
    return sorted(faster, key=faster.__getitem__)


class _Opener:
    """Opens a bundle on devices, and proves it."""

    def __init__(
        self, bundle: Bundle, precision: str | None, tuning: Tuning, progress: Progress, *, proves: bool
    ) -> None:
        self._bundle, self._precision, self._proves = bundle, precision, proves
        self._tuning, self._progress = tuning, progress

    @property
    def can_prove(self) -> bool:
        return self._proves and self._bundle.proof is not None

    @cached_property
    def _proof(self) -> Proof | None:
        return usable_proof(self._bundle)

    def open_first(self, devices: Sequence[str], problems: Sequence[DeviceError] = ()) -> Opened:
        """Open the bundle on the first device and in the first precision that work.

        Parameters
        ----------
        devices
            Names of the table, in the order in which they are tried.
        problems
            Why other devices are not tried.
        """
        problems = list(problems)
        for one in devices:
            kept = Verdicts(self._bundle, one) if self.can_prove else None
            plans = find_plans(self._bundle, one, self._precision)
            if kept is not None:
                plans = sort_plans(plans, kept.order)
            for at, plan in enumerate(plans):
                try:
                    opened = self._open(plan, plans[at + 1 : at + 2], kept)
                except DeviceError as error:
                    problems.append(error)
                else:
                    return _warn(opened, problems)
        if len(problems) == 1:
            raise problems[0]
        raise DeviceError("; ".join(map(str, problems)))

    def open_fastest(self, rivals: Sequence[str]) -> Opened:
        """Open the bundle on the fastest rival, or on the CPU where none is faster; each rival is measured once."""
        if self._proof is None:
            return self.open_first([CPU])
        kept = Verdicts(self._bundle, CPU)
        races = {rival: Verdicts(self._bundle, rival).race(kept, self._precision) for rival in rivals}
        missing = [rival for rival, race in races.items() if race is None]
        opened = self.open_first([CPU]) if missing else None
        if opened is not None:
            races |= {rival: self._race(opened, rival, self._proof) for rival in missing}
        problems = [DeviceError(race.problem) for race in races.values() if race is not None and race.problem]
        winners = _winners(races)
        if opened is not None and not winners:
            return _warn(opened, problems)
        del opened  # two copies of a model need memory that one does not
        return self.open_first([*winners, CPU], problems)

    def _race(self, opened: Opened, rival: str, proof: Proof) -> Race:
        """Prove the bundle on a device, time all graphs there and on the CPU, and keep what came out."""
        try:
            other = self.open_first([rival])
            timing = compare(self._runs(opened, proof), self._runs(other, proof))
        except (BundleError, DeviceError) as error:
            race = Race(is_faster=False, problem=str(error))
        else:
            race = Race(timing.other_is_faster, timing.other)
            than = f"{rival} in {other.plan.precision} than {opened.plan.device} in {opened.plan.precision}"
            _log.info(
                "%s is %sfaster here on %s: %s", self._bundle.name, "" if race.is_faster else "not ", than, timing
            )
        Verdicts(self._bundle, rival).keep_race(race, Verdicts(self._bundle, CPU), self._precision)
        return race

    def _runs(self, opened: Opened, proof: Proof) -> Runs:
        """Return each graph with its last inputs, as often as it runs for the proof."""
        recording = record(self._bundle, opened.sessions, proof.questions)
        return [(opened.sessions[role], run.inputs) for role, run in recording.runs.items() for _ in range(run.count)]

    def _open(self, plan: Plan, others: Sequence[Plan], kept: Verdicts | None) -> Opened:
        """Open a plan, or one of the other plans that is faster; prove what was not proven before."""
        sessions = open_graphs(self._bundle, plan, self._tuning, progress=self._progress)
        opened = Opened(plan, sessions, "proven")
        if kept is None:
            return replace(opened, standing="not proven" if self._proves else "skipped")
        other = next((one for one in others if not kept.order and may_compare(self._bundle, plan, one)), None)
        if plan.precision in kept.precisions and other is None:
            return opened
        if self._proof is None:
            return replace(opened, standing="not proven")
        started = perf_counter()
        recording = self._prove(plan, sessions, self._proof, kept)
        if other is not None:
            opened = self._choose_faster(opened, other, recording, self._proof, kept)
        seconds = perf_counter() - started
        if seconds > _SLOW_SECONDS:
            _log.info("%s was proven on %s in %.1f s, once", self._bundle.name, plan.device, seconds)
        return opened

    def _prove(self, plan: Plan, sessions: Mapping[str, Session], proof: Proof, kept: Verdicts) -> Recording:
        verdict, recording = prove_plan(self._bundle, plan, sessions, proof)
        _require(self._bundle, plan, verdict)
        kept.keep(plan.precision, verdict)
        self._progress(f"proof: right on {plan.device} in {plan.precision}, {verdict.milliseconds / 1e3:.1f} s")
        return recording

    def _choose_faster(self, opened: Opened, other: Plan, recording: Recording, proof: Proof, kept: Verdicts) -> Opened:
        """Return the faster one of two plans, and keep the order; the first one, if the other one cannot be used."""
        plan = opened.plan
        try:
            self._bundle.check(opened=other.files.values())
            timing = self._time(opened, other, recording)
            if timing is None or not timing.other_is_faster:
                kept.keep_order([plan.precision, other.precision])
                return opened
            shared = {plan.files[role]: session for role, session in opened.sessions.items()}
            sessions = open_graphs(self._bundle, other, self._tuning, shared=shared, progress=self._progress)
            self._prove(other, sessions, proof, kept)
        except (BundleError, DeviceError) as error:
            _log.info("%s is not compared with %s: %s", other.precision, plan.precision, error)
            kept.keep_order([plan.precision])
            return opened
        _log.info("%s is faster here than %s: %s", other.precision, plan.precision, timing)
        kept.keep_order([other.precision, plan.precision])
        return Opened(other, sessions, "proven")

    def _time(self, opened: Opened, other: Plan, recording: Recording) -> Timing | None:
        """Time the slowest graph of which the files differ; None if there is none."""
        role = slowest(recording, opened.plan.files, other.files)
        if role is None:
            return None
        session = open_graph(self._bundle, other, role, self._tuning, self._progress)
        inputs = recording.runs[role].inputs
        return compare([(opened.sessions[role], inputs)], [(session, inputs)])


def _warn(opened: Opened, problems: Sequence[DeviceError]) -> Opened:
    """Add a warning for each device or precision that came first, and log it."""
    running = f"running on {opened.plan.device} in {opened.plan.precision}"
    warnings = tuple(f"{problem}; {running}" for problem in problems)
    for warning in warnings:
        _log.warning("%s", warning)
    return replace(opened, warnings=(*opened.warnings, *warnings))


def usable_proof(bundle: Bundle) -> Proof | None:
    """Return the proof of a bundle; None without one, or if it is about another photo than that of this package.

    Raises
    ------
    BundleError
        The file is damaged.
    """
    proof = read_proof(bundle)
    if proof is not None and proof.photo != sha256(PHOTO):
        _log.warning("the proof of %s is about another photo than this version of automask has", bundle.name)
        return None
    return proof


def prove_plan(bundle: Bundle, plan: Plan, sessions: Mapping[str, Session], proof: Proof) -> tuple[Verdict, Recording]:
    """Answer the questions of a proof, and return the verdict on the answers.

    Raises
    ------
    AutomaskError
        The model cannot answer: the device is gone, or a package is missing.
    """
    recording = record(bundle, sessions, proof.questions)
    checks = judge(proof, recording, device=plan.device, precision=plan.precision, precisions=plan.precisions)
    return Verdict(checks, recording.milliseconds), recording


def _require(bundle: Bundle, plan: Plan, verdict: Verdict) -> None:
    if verdict.is_right:
        return
    wrong = [check for check in verdict.checks if not check.holds]
    others = [name for name in bundle.precisions if name != plan.precision]
    hints = [f"use precision={others[-1]!r}"] if others else []
    hints += [f"device={CPU!r}"] if plan.device != CPU else ["export or download the bundle again"]
    raise DeviceError(
        f"{bundle.name!r} does not compute on {plan.device} in {plan.precision} what it did at export: "
        f"{wrong[0]}{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''}. Instead, {' or '.join(hints)}; "
        "`automask prove` has all figures, and prove=False turns the check off"
    )
