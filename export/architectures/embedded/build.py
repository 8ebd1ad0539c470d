"""The steps from registry files to the published default bundle."""

from __future__ import annotations

from pathlib import Path

from automask.proof import add_proof
from automask.publish import check_output, staged, write_json

from ...figures import Figure, ParityError, Report, check
from ...graphs import save
from ...manifest import write_card
from ...parity import Array, parity_image
from ...pipeline import Progress
from ...words.build import build_with_wordnet
from ...words.sets import COCO, find_label_set, read_table
from . import card, detector, parity, segmenter, sources
from .manifest import VOCABULARY, describe

__all__ = ["build"]


def build(output: Path, source_folder: Path, *, photo: Path | None, force: bool, progress: Progress) -> Report:
    """Build the bundle.

    Parameters
    ----------
    output
        Folder of the bundle. Nothing is left there unless every step succeeds.
    source_folder
        Folder of the source files; missing ones are downloaded to it.
    photo
        Image to measure parity on; None for a synthetic one.
    force
        Replace a bundle that exists at the output.

    Returns
    -------
    Report
        The measured parity.

    Raises
    ------
    OutputError
        The folder exists and must not be replaced.
    SourceError
        A source file is missing, or is not the pinned one.
    ParityError
        A graph does not compute the same as its source.
    """
    check_output(output, force=force)
    with staged(output) as (bundle, work):
        progress("sources")
        sources.fetch_all(source_folder, progress)
        pixels = parity_image(photo)
        progress("detector (in a separate environment for Paddle)")
        figures = _write_detector(bundle, work, source_folder, parity.detector_image(pixels))
        progress("image encoder and mask decoder")
        model = segmenter.load(source_folder / "mobile_sam.pt")
        segmenter.export_encoder(model.encoder, bundle)
        segmenter.export_decoder(model.decoder, bundle)
        progress("vocabulary")
        labels = detector.class_names(source_folder / "infer_cfg.yml")
        write_json(bundle / VOCABULARY, _vocabulary(source_folder, labels), indent=None)
        progress("parity")
        figures += parity.segmenter_figures(model, bundle, parity.encoder_image(pixels))
        manifest = describe(bundle, check(figures))
        progress("proof")
        add_proof(bundle, manifest)
        size = sum((bundle / name).stat().st_size for name in manifest["files"])
        write_card(bundle, card.model_card(manifest, labels, size))
    return Report(figures)


def _write_detector(bundle: Path, work: Path, source_folder: Path, image: Array) -> list[Figure]:
    conversion = detector.convert(source_folder, work, image)
    exact = detector.detector_graph(conversion.model)
    save(detector.compressed(exact), bundle / "detector.onnx")
    return parity.detector_figures(exact, bundle / "detector.onnx", conversion, image)


def _vocabulary(source_folder: Path, labels: list[str]) -> dict[str, object]:
    known = [*read_table(COCO)["labels"]]
    if known != labels:
        raise ParityError(f"the vocabulary must have the detector's classes in its order, {labels}; got {known}")
    return build_with_wordnet(find_label_set(labels), source_folder)
