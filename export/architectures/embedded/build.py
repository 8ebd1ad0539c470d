"""The default bundle, from registry files to a finished folder, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from automask.bundle import MANIFEST

from ...figures import Figure, ParityError, check
from ...graphs import save
from ...picture import picture
from ...publish import check_output, staged, write_json
from . import card, detector, parity, segmenter, sources, vocabulary
from .manifest import manifest

__all__ = ["build"]


def build(
    output: Path, source_folder: Path, *, photo: Path | None, force: bool, echo: Callable[[str], None]
) -> list[Figure]:
    """Build the bundle.

    Parameters
    ----------
    output
        Folder to make. Nothing is left there unless everything succeeded.
    source_folder
        Where the source files are, or are fetched to.
    photo
        What to measure parity on; a drawn picture if none.
    force
        Replace a bundle that is there.
    echo
        Called with lines that tell how it goes.

    Returns
    -------
    list of Figure
        The parity that was measured.

    Raises
    ------
    OutputError
        The folder exists and is not to be replaced.
    SourceError
        A source file is missing or is not the pinned one.
    ParityError
        A graph does not compute what it was made of.
    """
    check_output(output, force=force)
    with staged(output) as (bundle, work):
        return _fill(bundle, work, source_folder, photo, echo)


def _fill(
    bundle: Path, work: Path, source_folder: Path, photo: Path | None, echo: Callable[[str], None]
) -> list[Figure]:
    echo("sources")
    sources.fetch_all(source_folder, echo)
    pixels = picture(photo)
    echo("detector (in Paddle's own environment)")
    figures = _detector(bundle, work, source_folder, parity.detector_image(pixels))
    echo("image encoder and mask decoder")
    model = segmenter.load(source_folder / "mobile_sam.pt")
    segmenter.export_encoder(model.encoder, bundle)
    segmenter.export_decoder(model.decoder, bundle)
    echo("vocabulary")
    kinds = detector.class_names(source_folder / "infer_cfg.yml")
    write_json(bundle / "vocabulary.json", _words(source_folder, kinds), indent=None)
    echo("parity")
    figures += parity.segmenter_figures(model, bundle, parity.encoder_image(pixels))
    said = manifest(bundle, check(figures))
    size = sum(path.stat().st_size for path in bundle.iterdir())
    write_json(bundle / MANIFEST, said, indent=1)
    (bundle / "MODEL_CARD.md").write_text(card.model_card(said, kinds, size), encoding="utf-8")
    return figures


def _detector(bundle: Path, work: Path, source_folder: Path, image: parity.Array) -> list[Figure]:
    conversion = detector.convert(source_folder, work, image)
    whole = detector.detector_graph(conversion.model)
    save(detector.compressed(whole), bundle / "detector.onnx")
    return parity.detector_figures(whole, bundle / "detector.onnx", conversion, image)


def _words(source_folder: Path, kinds: list[str]) -> dict[str, object]:
    table = vocabulary.build(source_folder)
    if table["labels"] != kinds:
        raise ParityError(f"the table of words must have the detector's classes in its order: {kinds}")
    return table
