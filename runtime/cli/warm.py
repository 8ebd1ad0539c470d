"""`automask warm`: build ahead what a model needs on a device, so that no server and no first call waits for it."""

from __future__ import annotations

from time import perf_counter

import click

from ..devices import AUTO, DEVICES, device_names
from ..engines import count_engines, engines_folder, remove_unused
from ..folders import cache_folder
from ..loading import load
from .notes import notes_of_loading
from .settings import CONTEXT

__all__ = ["warm"]


def _split(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the models of an option that is repeated, and of a variable, which has them between commas."""
    return tuple(name.strip() for value in values for name in value.split(","))


@click.command(context_settings=CONTEXT)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    default=("default",),
    show_default=True,
    callback=_split,
    help="Name (`automask models`), bundle folder or Hub id; repeatable.",
)
@click.option("--device", type=click.Choice(device_names()), default=AUTO, show_default=True, help="Where to run.")
@click.option("--precision", metavar="NAME", help="Precision of the models, such as fp16. [default: fastest]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. [default: one per core]")
@click.option(
    "--gpu-memory-mb",
    type=click.IntRange(min=1),
    help="Maximum GPU memory, in MB, of each graph of a model. [default: no limit]",
)
@click.option(
    "--keep-days",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Days after which engines that no process has opened since are removed.",
)
def warm(
    *,
    models: tuple[str, ...],
    device: str,
    precision: str | None,
    threads: int | None,
    gpu_memory_mb: int | None,
    keep_days: int,
) -> None:
    """Build engines and prove models on a device, so that no server and no first call has to wait for that.

    TensorRT takes minutes to build the engines of a graph. They are kept in the cache folder, and so are proofs. Run
    this as the server's user, with the same cache folder (XDG_CACHE_HOME) and the same versions. Engines of other
    graphs and versions are removed if no process uses them, and none has opened them for --keep-days.
    """
    for model in models:
        click.echo(f"{model}:")
        started = perf_counter()
        with notes_of_loading():
            segmenter = load(
                model,
                device=device,  # type: ignore[arg-type]  # one of the choices
                precision=precision,
                threads=threads,
                gpu_memory_bytes=None if gpu_memory_mb is None else gpu_memory_mb * 1_000_000,
                progress=lambda line: click.echo(f"  {line}"),
            )
        first, second = (segmenter.warm_up().timings["total"] for _ in range(2))
        click.echo(f"  first mask {first:.0f} ms, second {second:.0f} ms")
        where = f"{segmenter.device} in {segmenter.precision}, {segmenter.standing}"
        click.echo(f"  ready on {where}, after {perf_counter() - started:.1f} s")
        if DEVICES[segmenter.device].builds_engines:
            files = segmenter.bundle.files
            kept = sum(count_engines(engines_folder(segmenter.device, files[name])) for name in files)
            what = f"{kept} engines" if kept else "what was compiled is"
            click.echo(f"  {what} in {cache_folder() / segmenter.device}")
        else:
            click.echo(
                f"  {segmenter.device} builds no engines: only the proof is kept, in {cache_folder() / 'proofs'}"
            )
    graphs, size = remove_unused(keep_days)
    if graphs:
        click.echo(f"removed the engines of {graphs} graphs, {size / 1e6:.1f} MB: not opened for {keep_days} days")
