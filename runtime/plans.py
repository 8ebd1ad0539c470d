"""Plans: the ways to open a bundle on a device, one for each precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .bundle import Bundle
from .devices import DEVICES

__all__ = ["Plan", "find_plans", "may_compare", "sort_plans"]

_MOST_COMPARED: Final = 256_000_000  # bytes of graphs that are opened only to be timed


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


def sort_plans(plans: Sequence[Plan], order: Sequence[str]) -> list[Plan]:
    """Return plans by the order of their precisions; those that are not in it come last."""
    return sorted(plans, key=lambda plan: order.index(plan.precision) if plan.precision in order else len(order))


def may_compare(bundle: Bundle, plan: Plan, other: Plan) -> bool:
    """Return whether two plans are of precisions of which the hardware decides, and the second one is small."""
    if not {plan.precision, other.precision} <= set(DEVICES[plan.device].compares):
        return False
    sizes = [bundle.folder / other.files[role] for role in other.files if other.files[role] != plan.files[role]]
    return sum(path.stat().st_size for path in sizes if path.is_file()) <= _MOST_COMPARED
