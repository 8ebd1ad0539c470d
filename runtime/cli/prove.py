"""`automask prove`: compare a model with its proof on a device, and print the figures."""

from __future__ import annotations

import sys

import click

from ..bundle import Bundle
from ..devices import AUTO, device_names, pick_device
from ..errors import AutomaskError, ParameterError
from ..graphs import open_graphs
from ..loading import load
from ..lookup import find_bundle
from ..opening import prove_plan, usable_proof
from ..plans import Plan, find_plans
from ..proof import Proof, Verdicts
from .notes import notes_of_loading
from .settings import CONTEXT, first_model

__all__ = ["prove"]

_NO_PROOF = 3  # exit status


@click.command(context_settings=CONTEXT)
@click.option(
    "--model",
    metavar="MODEL",
    default="default",
    show_default=True,
    callback=first_model,
    help="Name (`automask models`), bundle folder or Hub id.",
)
@click.option("--device", type=click.Choice(device_names()), default=AUTO, show_default=True, help="Where to run.")
@click.option("--precision", metavar="NAME", help="Only this precision. [default: each that the device may use]")
def prove(*, model: str, device: str, precision: str | None) -> None:
    """Check that a model computes on this machine what it computed at export, and print the figures.

    `load`, `mask` and `serve` do the same the first time, and keep the verdict; this runs it again.

    Exit status: 0 everything is right, 1 something is wrong or cannot run, 3 the bundle has no proof.
    """
    bundle = find_bundle(model)
    if precision is not None and precision not in bundle.precisions:
        raise ParameterError("precision", f"be one of {', '.join(bundle.precisions)} for this bundle", precision)
    proof = usable_proof(bundle)
    if proof is None:
        click.echo(f"{bundle.name}: has no proof for this version of automask; export or download it again", err=True)
        sys.exit(_NO_PROOF)
    picked = pick_device(device)
    kept = Verdicts(bundle, picked)
    kept.forget()
    right = [_prove(bundle, plan, proof, kept) for plan in find_plans(bundle, picked, precision)]
    if all(right) and precision is None:
        with notes_of_loading():
            fastest = load(model, device=picked).precision  # type: ignore[arg-type]  # a row of the table
        click.echo(f"{bundle.name} on {picked}: runs in {fastest}")
    sys.exit(0 if all(right) else 1)


def _prove(bundle: Bundle, plan: Plan, proof: Proof, kept: Verdicts) -> bool:
    """Prove one plan, print its figures, and keep a right verdict."""
    title = f"{bundle.name} on {plan.device} in {plan.precision}"
    try:
        verdict, _ = prove_plan(bundle, plan, open_graphs(bundle, plan), proof)
    except AutomaskError as error:
        click.echo(f"{title}: {error}")
        return False
    click.echo(f"{title}: {'right' if verdict.is_right else 'WRONG'}, {verdict.milliseconds:.0f} ms")
    for check in verdict.checks:
        click.echo(
            f"  {'ok' if check.holds else 'WRONG':<6}{check.name:<28}{check.value:>10.3g}  limit {check.limit:.3g}"
        )
    if verdict.is_right:
        kept.keep(plan.precision, verdict)
    return verdict.is_right
