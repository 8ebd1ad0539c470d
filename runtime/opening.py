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
from .devices import AUTO, CPU, DEVICES, pick_device
from .errors import BundleError, DeviceError
from .proof import Proof, Recording, Timing, Verdict, Verdicts, compare, judge, read_proof, record
from .proof.document import PHOTO
from .proof.speed import slowest
from .segmenter import Standing
from .session import Session

__all__ = ["Opened", "Plan", "find_plans", "open_bundle_on", "open_graphs", "prove_plan", "usable_proof"]

_log = logging.getLogger(__name__)

_MOST_COMPARED = 256_000_000  # bytes of graphs that are opened only to be timed
_SLOW_SECONDS = 0.5  # a proof that takes longer is worth a line


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to open a bundle.

    Attributes
    ----------
    device
        A name of the table of devices.
    precision
        The precision, as `load` takes it.
    files
        File of each graph, by role.
    precisions
        The precision of each graph, by role: one that has no such graph keeps its own.
    """

    device: str
    precision: str
    files: Mapping[str, str]
    precisions: Mapping[str, str]


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


def open_bundle_on(bundle: Bundle, device: str, precision: str | None, threads: int | None, *, proves: bool) -> Opened:
    """Open a bundle on the first device and in the first precision that work.

    Parameters
    ----------
    bundle
        The bundle.
    device
        One of `device_names`.
    precision
        A precision of the bundle; None for the fastest one here that is right.
    threads
        CPU threads for one call.
    proves
        Whether the bundle is proven, unless it was before.

    Raises
    ------
    DeviceError
        Nothing that may be used works, or computes what it should.
    BundleError
        A file is damaged.
    """
    picked = pick_device(device)
    devices = (picked, CPU) if device == AUTO and picked != CPU else (picked,)
    opener = _Opener(bundle, threads, proves=proves)
    problems: list[DeviceError] = []
    for one in devices:
        kept = Verdicts(bundle, one) if opener.can_prove else None
        plans = find_plans(bundle, one, precision)
        if kept is not None:
            plans = _sort(plans, kept.order)
        for at, plan in enumerate(plans):
            try:
                opened = opener.open(plan, plans[at + 1 : at + 2], kept)
            except DeviceError as error:
                problems.append(error)
            else:
                warnings = tuple(f"{problem}; running on {one} in {opened.plan.precision}" for problem in problems)
                for warning in warnings:
                    _log.warning("%s", warning)
                return replace(opened, warnings=warnings)
    if len(problems) == 1:
        raise problems[0]
    raise DeviceError("; ".join(map(str, problems)))


def find_plans(bundle: Bundle, device: str, precision: str | None) -> list[Plan]:
    """Return the ways to open a bundle on a device, in the device's order; one if a precision is named."""
    preferred = DEVICES[device].precisions
    names = [one for one in preferred if one in bundle.precisions] if precision is None else [precision]
    plans: list[Plan] = []
    for name in names or [bundle.precisions[0]]:
        plan = _plan(bundle, device, name, (name, "fp32", *preferred))
        if all(plan.files != other.files for other in plans):
            plans.append(plan)
    return plans


def _plan(bundle: Bundle, device: str, precision: str, preferred: Sequence[str]) -> Plan:
    files = {role: graph.choose(preferred) for role, graph in bundle.graphs.items()}
    precisions = {
        role: next(name for name, file in graph.variants.items() if file == files[role])
        for role, graph in bundle.graphs.items()
    }
    return Plan(device, precision, files, precisions)


def _sort(plans: Sequence[Plan], order: Sequence[str]) -> list[Plan]:
    return sorted(plans, key=lambda plan: order.index(plan.precision) if plan.precision in order else len(order))


def open_graphs(bundle: Bundle, plan: Plan, threads: int | None) -> dict[str, Session]:
    """Check the files of a plan, and open its graphs; raises as `Bundle.check` and `Session` do."""
    # Hashing takes longer than opening, and most files of a bundle may be of other precisions.
    bundle.check(opened=plan.files.values())
    return {role: Session(bundle.folder / file, plan.device, threads=threads) for role, file in plan.files.items()}


class _Opener:
    """Opens a bundle as planned, and proves it."""

    def __init__(self, bundle: Bundle, threads: int | None, *, proves: bool) -> None:
        self._bundle, self._threads, self._proves = bundle, threads, proves

    @property
    def can_prove(self) -> bool:
        return self._proves and self._bundle.proof is not None

    @cached_property
    def _proof(self) -> Proof | None:
        return usable_proof(self._bundle)

    def open(self, plan: Plan, others: Sequence[Plan], kept: Verdicts | None) -> Opened:
        """Open a plan, or one of the other plans that is faster; prove what was not proven before."""
        sessions = open_graphs(self._bundle, plan, self._threads)
        opened = Opened(plan, sessions, "proven")
        if kept is None:
            return replace(opened, standing="not proven" if self._proves else "skipped")
        other = next((one for one in others if not kept.order and _may_compare(self._bundle, plan, one)), None)
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
            sessions = open_graphs(self._bundle, other, self._threads)
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
        session = Session(self._bundle.folder / other.files[role], other.device, threads=self._threads)
        return compare(recording, role, opened.sessions[role], session)


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


def _may_compare(bundle: Bundle, plan: Plan, other: Plan) -> bool:
    """Return whether two plans are of precisions of which the hardware decides, and the second one is small."""
    if not {plan.precision, other.precision} <= set(DEVICES[plan.device].compares):
        return False
    sizes = [bundle.folder / other.files[role] for role in other.files if other.files[role] != plan.files[role]]
    return sum(path.stat().st_size for path in sizes if path.is_file()) <= _MOST_COMPARED
