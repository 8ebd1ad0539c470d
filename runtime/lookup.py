"""Finding a bundle: by folder, built-in name, name of a bundle of the user, or Hub id."""

from __future__ import annotations

import re
from pathlib import Path

from .bundle import MANIFEST, Bundle, open_bundle
from .errors import BundleNotFoundError, MissingDependencyError, ParameterError
from .folders import bundles_folder
from .hub import HubError, HubUnreachableError, download

__all__ = [
    "HUB_ID",
    "built_in_bundles",
    "check_name",
    "find_bundle",
    "locate_bundle",
    "place_of",
    "user_bundles",
]

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""An id of the Hugging Face Hub: ``owner/name``."""

_NAME = re.compile(r"[\w-][\w.-]*")
_BUILT_IN = Path(__file__).parent / "bundles"


def built_in_bundles() -> tuple[str, ...]:
    """Return the names of the bundles that come with the package.

    Examples
    --------
    >>> built_in_bundles()
    ('default',)
    """
    return tuple(sorted(manifest.parent.name for manifest in _BUILT_IN.glob(f"*/{MANIFEST}")))


def user_bundles() -> tuple[str, ...]:
    """Return the names of the bundles that the user exported, which are in `bundles_folder`."""
    return tuple(sorted(manifest.parent.name for manifest in bundles_folder().glob(f"[!.]*/{MANIFEST}")))


def check_name(name: str) -> None:
    """Raise `ParameterError` if a bundle cannot have this name."""
    if not _NAME.fullmatch(name):
        raise ParameterError("name", "have letters, digits, '_', '-' and '.' only", name)


def place_of(name: str) -> Path:
    """Return the folder in which a bundle of the user with this name is, or would be.

    Raises
    ------
    ParameterError
        A bundle of the user cannot have this name.
    """
    check_name(name)
    if name in built_in_bundles():
        raise ParameterError("name", "be another one than the built-in model's (use --name)", name)
    return bundles_folder() / name


def find_bundle(model: str | Path, *, revision: str | None = None) -> Bundle:
    """Find a bundle as `locate_bundle` does, and check its manifest and all its files.

    Raises
    ------
    BundleNotFoundError, BundleError, SpaceError, MissingDependencyError
        As `locate_bundle` and `open_bundle` do.

    Examples
    --------
    >>> find_bundle("default").family
    'boxes'
    """
    return open_bundle(locate_bundle(model, revision=revision))


def locate_bundle(model: str | Path, *, revision: str | None = None) -> Path:
    """Return the folder of a bundle.

    Parameters
    ----------
    model
        A folder that holds an `automask.json`, the name of a built-in bundle, the name of a bundle in the user's bundle
        folder, or a Hub id ``owner/name``, which `huggingface_hub` downloads and caches; in this order.
    revision
        Branch, tag or commit; for a Hub id only.

    Raises
    ------
    BundleNotFoundError
        There is no such bundle: the repository is unknown, private or gated, or the Hub cannot be reached.
    SpaceError
        The disk became full during the download.
    MissingDependencyError
        `model` is a Hub id, and `huggingface_hub` is not installed.
    """
    if Path(model).is_dir():
        return Path(model)
    name = str(model)
    if name in built_in_bundles():
        return _BUILT_IN / name
    if name in user_bundles():
        return bundles_folder() / name
    if HUB_ID.fullmatch(name):
        return _download(name, revision)
    known = ", ".join(map(repr, (*built_in_bundles(), *user_bundles())))
    raise BundleNotFoundError(
        f"no bundle {name!r}: give a folder with an {MANIFEST}, a name that `automask models` lists ({known}) or a Hub "
        "id (owner/name); `automask pull --list` and `automask export --list` name models to make one of"
    )


def _download(hub_id: str, revision: str | None) -> Path:
    try:
        return download(hub_id, revision, ["*"])
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{hub_id!r} looks like a Hub id; to download it: pip install 'automask[hub]'"
        ) from error
    except HubUnreachableError as error:
        raise BundleNotFoundError(
            f"no bundle {hub_id!r}: there is no such folder, and the Hub could not be reached: {error.reason} Where it "
            f"can be, run `hf download {hub_id} --local-dir {hub_id.rpartition('/')[2]}`; then copy this folder here, "
            "and give it instead of the Hub id"
        ) from error
    except HubError as error:
        raise BundleNotFoundError(f"no bundle {hub_id!r}: there is no such folder, and {error}") from error
