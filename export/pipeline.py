"""The steps from a source to a published bundle, the same for every architecture.

Check output, space and memory, load the checkpoint; then write one graph per submodel in each precision, compare them
with the checkpoint, describe everything in the manifest, and publish the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from automask.bundle import DATA_SUFFIX, Bundle, graph_files, read_bundle
from automask.cpu_graphs import CpuGraphs, OpenedGraphs
from automask.errors import MissingDependencyError
from automask.manifest import describe_bundle, variant_name, write_manifest
from automask.proof import add_proof
from automask.publish import check_output, check_space, staged
from automask.sense import check_sense

from .agreement import THRESHOLD
from .figures import Figure, ParityError, Report, check
from .float16_graphs import LIMITS, Float16Graphs
from .manifest import describe_graph, versions, write_card
from .memory import check_memory
from .model import Model
from .parity import Agreement, Reference, graph_figures, parity_image
from .source import Source

__all__ = ["DEFAULT_PRECISIONS", "ExportOptions", "Progress", "export_bundle", "requires"]

DEFAULT_PRECISIONS = ("fp32", "int8")

# Called with one line at a time.
Progress = Callable[[str], None]

# Disk space per byte of the checkpoint: the files written, and the exporter's temporary ones.
_SPACE = {"fp32": 1.0, "fp16": 0.5, "int8": 0.4}
_TEMPORARY_SPACE = 1.6


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export.

    Attributes
    ----------
    name
        Name of the bundle.
    precisions
        Some of `PRECISIONS`.
    optional
        Those of them that are left out if their figures are beyond a limit; fp32 is never one.
    optimize
        Fuse attention into ONNX Runtime's own operator.
    photo
        Image to measure parity on; None for a synthetic one.
    """

    name: str
    precisions: Sequence[str]
    optional: Sequence[str]
    optimize: bool
    photo: Path | None


@contextmanager
def requires(extra: str) -> Iterator[None]:
    """Turn an import that fails in the block into the command that installs it.

    Raises
    ------
    MissingDependencyError
        A package of the extra is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(f"this export needs {error.name}: pip install 'automask[{extra}]'") from error


def export_bundle(output: Path, source: Source, options: ExportOptions, *, force: bool, progress: Progress) -> Report:
    """Export a bundle.

    Parameters
    ----------
    output
        Folder of the bundle. Nothing is left there unless every step succeeds.
    force
        Replace a bundle that exists there.

    Raises
    ------
    OutputError
        The folder exists and must not be replaced.
    SpaceError, OutOfMemoryError
        The disk has too little space, the machine too little memory.
    CheckpointError
        The checkpoint cannot be exported.
    ParameterError
        The image size is not a multiple of the patch size.
    ParityError
        A graph does not compute the same as the checkpoint.
    MissingDependencyError
        A package of the extra is not installed.
    """
    check_output(output, force=force)
    progress(f"licence: {source.licence}")
    check_space(output, _needed_space(source, options.precisions))
    check_memory(source.memory, source.name)
    # Importing torch takes seconds, so everything above fails without it.
    progress("weights: loading, with torch")
    model = source.load()
    from .float16 import open_on_cpu

    with staged(output) as (bundle, work):
        files, variants = _write_graphs(model, bundle, work, options, progress)
        copied = model.copy_graphs(bundle)
        text = model.write_settings(bundle)
        for note in model.notes:
            progress(note)
        progress("reference: running the checkpoint itself, in torch")
        reference = model.reference(parity_image(options.photo))
        manifest = describe_bundle(
            bundle,
            name=options.name,
            licence=source.licence,
            terms=source.terms,
            sources=source.describe(),
            optimized=options.optimize,
            text=text,
            **_describe_model(model, variants, copied),
        )
        write_manifest(bundle, manifest)  # for the comparison, which reads the bundle as the runtime does
        progress("parity: comparing the graphs with it")
        opened = OpenedGraphs(open_on_cpu)
        half = Float16Graphs(files, reference, bundle, optimize=options.optimize, progress=progress)
        report = _measure(read_bundle(bundle), options.precisions, reference, half, opened=opened, progress=progress)
        half.describe(manifest)
        report = _leave_out(bundle, manifest, model.submodels, report, options.optional)
        for precision, reason in manifest["left_out"].items():
            progress(f"  {precision} is left out: {reason}")
        manifest["parity"] = _describe_parity(report)
        progress("proof: what the graphs make of a photo, for each device to be compared with")
        add_proof(bundle, manifest, opened)
        progress("sense: a photo of a person")
        sense = check_sense(bundle, opened)
        manifest["sense"] = {**asdict(sense), "holds": sense.holds}
        write_manifest(bundle, manifest)
        write_card(bundle, model.model_card(manifest))
        check_output(output, force=force)  # another export may have ended there in the meantime
    return replace(report, sense=str(sense))


def _needed_space(source: Source, precisions: Sequence[str]) -> int:
    return int(source.weights * (_TEMPORARY_SPACE + sum(_SPACE[precision] for precision in precisions)))


def _write_graphs(
    model: Model, bundle: Path, work: Path, options: ExportOptions, progress: Progress
) -> tuple[Mapping[str, Path], Mapping[str, Sequence[str]]]:
    """Write every graph in every precision; return the float32 graph and the precisions of each role."""
    from .precision import write_precision
    from .submodels import export_submodels

    by = "torch" if model.task is None else "optimum"
    progress(f"graphs, for images of {model.image_size} x {model.image_size} (float32, by {by})")
    files = export_submodels(model.submodels, work, task=model.task)
    variants = {role: _graph_precisions(model, role, options.precisions) for role in files}
    for role, file in files.items():
        for precision in variants[role]:
            target = bundle / variant_name(role, precision)
            kept = model.float32_nodes.get(role, ())
            write_precision(file, target, precision, optimize=options.optimize, float32_nodes=kept)
            progress(f"  {target.name:32} {sum(file.stat().st_size for file in graph_files(target)) / 1e6:9.3f} MB")
    return files, variants


def _graph_precisions(model: Model, role: str, precisions: Sequence[str]) -> list[str]:
    return list(dict.fromkeys("fp32" if role in model.float32_roles and p == "int8" else p for p in precisions))


def _measure(
    bundle: Bundle,
    precisions: Sequence[str],
    reference: Reference,
    half: Float16Graphs,
    *,
    opened: OpenedGraphs,
    progress: Progress,
) -> Report:
    figures: list[Figure] = []
    criteria: dict[str, str] = {}
    # fp32 always, because some graphs are float32 in every bundle.
    for precision in dict.fromkeys([*precisions, "fp32"]):
        graphs = CpuGraphs(bundle, precision, opened)
        if precision in precisions:
            progress(f"  {precision}")
            agreement = _compare(bundle, precision, reference, half, graphs)
            figures += agreement.figures(precision)
            criteria[precision] = agreement.criterion(precision)
        made = {role for role, graph in bundle.graphs.items() if precision in graph.variants}
        figures += graph_figures({r: c for r, c in reference.cases.items() if r in made}, graphs, precision)
    return Report(figures, criteria)


def _compare(bundle: Bundle, precision: str, reference: Reference, half: Float16Graphs, graphs: CpuGraphs) -> Agreement:
    """Compare the graphs of a precision with the checkpoint; in fp16, more of them is float32 until they agree."""
    if precision != "fp16":
        return reference.compare(bundle, graphs)
    for limit in LIMITS:
        if half.keep_float32(limit, graphs):
            graphs.close()  # files were written again
        agreement = reference.compare(bundle, graphs)
        if all(figure.holds for figure in agreement.figures(precision)):
            break
    return agreement


def _leave_out(
    bundle: Path, manifest: dict[str, Any], roles: Iterable[str], report: Report, optional: Sequence[str]
) -> Report:
    """Remove the optional precisions that are beyond a limit from a bundle; return the report on the others.

    Raises
    ------
    ParityError
        Another precision is beyond a limit; where only precisions fail that may be omitted, the error says so.
    """
    failing = [precision for precision in report.criteria if precision != "fp32" and _failures(report, precision)]
    removed = [precision for precision in failing if precision in optional]
    kept = [figure for figure in report.figures if not figure.name.startswith(tuple(removed))]
    try:
        check(kept)
    except ParityError as error:
        if all(figure.holds or figure.name.startswith(tuple(failing)) for figure in report.figures):
            rest = dict.fromkeys(("fp32", *report.criteria))
            left = " ".join(f"--precision {precision}" for precision in rest if precision not in failing)
            raise ParityError(f"{error}; export without {' and '.join(failing)}: {left}") from error
        raise
    manifest["left_out"] = {precision: _failures(report, precision) for precision in removed}
    variants = [manifest["graphs"][role]["variants"] for role in roles]
    for file in (one.pop(precision) for precision in removed for one in variants if precision in one):
        for name in (file, file + DATA_SUFFIX):
            (bundle / name).unlink(missing_ok=True)
            manifest["files"].pop(name, None)
    return Report(kept, {precision: text for precision, text in report.criteria.items() if precision not in removed})


def _failures(report: Report, precision: str) -> str:
    """Return the figures of a precision that are beyond their limits, in words; empty if there is none."""
    return "; ".join(
        f"{f.name} must be {f.limit_text}, got {f.value:.3g}"
        for f in report.figures
        if f.name.startswith(precision) and not f.holds
    )


def _describe_model(model: Model, variants: Mapping[str, Sequence[str]], copied: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "family": model.family,
        "kinds": model.kinds,
        "description": model.description,
        "exported_with": versions(["automask", *model.packages]),
        "graphs": {
            **{
                role: describe_graph(role, variants[role], submodel.inputs, submodel.outputs)
                for role, submodel in model.submodels.items()
            },
            **copied,
        },
        "image": model.image,
        "calibration": model.calibration,
    }


def _describe_parity(report: Report) -> dict[str, Any]:
    return {
        "threshold": THRESHOLD,
        "judged_by": dict(report.criteria),
        "figures": check(report.figures),
        "limits": {figure.name: figure.limit for figure in report.figures if figure.limit is not None},
    }
