"""The Hugging Face Hub: some files of a repository, downloaded and cached by `huggingface_hub`.

Mirrors (``HF_ENDPOINT``), tokens, the cache's place and ``HF_HUB_OFFLINE`` are those of `huggingface_hub`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import AutomaskError, MissingDependencyError
from .publish import SpaceError, check_space

__all__ = [
    "HubError",
    "HubGatedError",
    "HubUnreachableError",
    "check_cache_space",
    "download",
    "list_files",
    "stated_licence",
]


class HubError(AutomaskError, OSError):
    """A repository is unknown, private or gated, or the Hub cannot be reached."""


class HubGatedError(HubError):
    """A repository is gated: the Hub requires that its terms are accepted."""


class HubUnreachableError(HubError):
    """The Hub cannot be reached, and the files are not in the cache.

    Attributes
    ----------
    reason
        The first line of the client's own message.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def download(
    hub_id: str, revision: str | None, files: Iterable[str], *, what: str = "repository", extra: str = "hub"
) -> Path:
    """Download files of a repository that are not in the cache yet; continue downloads that were cut off.

    Parameters
    ----------
    hub_id
        ``owner/name``.
    revision
        Branch, tag or commit; None for the main branch.
    files
        Names, or patterns such as ``*.json``. Those that the repository does not have are left out.
    what, extra
        For messages: what the repository holds, and the extra of automask that installs `huggingface_hub`.

    Returns
    -------
    Path
        The folder of the repository's files in the cache; its name is the commit.

    Raises
    ------
    HubGatedError
        The terms of the repository are not accepted.
    HubUnreachableError
        The files cannot be downloaded, and no revision of the repository is in the cache.
    HubError
        There is no such repository, or it is private, or it has no such revision, or the id is malformed.
    SpaceError
        The disk became full.
    MissingDependencyError
        `huggingface_hub` is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise MissingDependencyError(f"to download {hub_id} from the Hub: pip install 'automask[{extra}]'") from error
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(files)))
    except GatedRepoError as error:
        raise HubGatedError(
            f"{hub_id} is gated: accept its terms on https://huggingface.co/{hub_id}, where some are granted by hand; "
            "then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"no {what} {hub_id!r} on the Hub, or it is private; for a private one, log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{hub_id} has no revision {revision!r}") from error
    except HFValidationError as error:
        raise HubError(f"{hub_id!r} is no id of the Hub: {error}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if error.errno == errno.ENOSPC:
            raise SpaceError(f"the disk that holds the Hub's cache is full; {hub_id} was not downloaded") from error
        reason = str(error).strip().partition("\n")[0]
        raise HubUnreachableError(
            f"{hub_id} could not be downloaded, and is not in the cache: {reason} A call that was cut off continues "
            f"where it stopped. Without a network: run `hf download {hub_id} --local-dir DIR` where there is one, copy "
            "the folder here, and give it with --from DIR",
            reason,
        ) from error


def list_files(hub_id: str, commit: str) -> dict[str, int] | None:
    """Return the bytes of each file of a repository by name; None if the Hub cannot be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = HfApi().model_info(hub_id, revision=commit, files_metadata=True).siblings or []
    except (HfHubHTTPError, OSError):  # the download says what is wrong, or needs no network
        return None
    return {file.rfilename: file.size or 0 for file in found}


def check_cache_space(hub_id: str, commit: str, sizes: Mapping[str, int]) -> None:
    """Check that the disk of the cache has space for files that are not there yet.

    Parameters
    ----------
    sizes
        Bytes by name.

    Raises
    ------
    SpaceError
        It has less.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    missing = [name for name in sizes if not isinstance(try_to_load_from_cache(hub_id, name, revision=commit), str)]
    check_space(Path(constants.HF_HUB_CACHE), sum(sizes[name] for name in missing))


def stated_licence(card: str) -> str:
    r"""Return the licence in the front matter of a model card, or ``unknown``.

    Examples
    --------
    >>> stated_licence("---\nlicense: apache-2.0\n---\n# A model")
    'apache-2.0'
    """
    front = re.match(r"---\s*\n(.*?)\n---", card, re.DOTALL)
    stated = re.search(r"^licen[sc]e:\s*[\"']?([^\s\"']+)", front[1], re.MULTILINE) if front else None
    return stated[1] if stated else "unknown"
