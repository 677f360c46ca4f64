"""Files from the Hugging Face hub, by repository and pinned commit: checkpoints, and recordings beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import HubError

COMMIT = re.compile(r"[0-9a-f]{40}")


def check_revision(revision: str | None) -> str:
    """Accept the full sha of a commit only: a branch or tag can change under our feet."""
    if revision is None or not COMMIT.fullmatch(revision):
        raise HubError(
            f"--hub needs --revision with the 40 hexadecimal digits of a commit, not {revision!r};"
            " copy it from the repository's page 'History'"
        )
    return revision


def download(repository: str, file: str, revision: str) -> Path:
    """Path of a file in the hub's own cache; fetched where it is not there yet.

    HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as everywhere.

    Raises
    ------
    HubError
        hub not reachable, no such repository, file or commit, or no access to it
    """
    from huggingface_hub import hf_hub_download

    with _refusals(repository, file, revision):
        return Path(hf_hub_download(repository, file, revision=revision))


def sizes(repository: str, folder: str, revision: str) -> dict[str, int]:
    """Files below a folder of a repository, path -> bytes; empty where it has no such folder.

    The hub is asked each time: its cache holds files, not the listing of a folder.

    Raises
    ------
    HubError
        hub not reachable, no such repository or commit, or no access to it
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    with _refusals(repository, folder, revision):
        try:
            entries = list(HfApi().list_repo_tree(repository, folder, recursive=True, revision=revision))
        except EntryNotFoundError:
            return {}
    return {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)}


@contextmanager
def _refusals(repository: str, path: str, revision: str) -> Iterator[None]:
    """Raise what huggingface_hub raises as a HubError that says what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,  # of the HTTP library that it uses, which has been another one before
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # it warns of each of its retries
    try:
        yield
    except GatedRepoError as error:
        raise HubError(
            f"{repository} requires you to accept its conditions; do so on its page and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"the hub has no repository {repository}, or it is private and HF_TOKEN is not set"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repository} has no commit {revision}; check --revision") from error
    except LocalEntryNotFoundError as error:  # is an EntryNotFoundError too: the hub was not asked
        raise HubError(
            f"the hub cannot be reached and {repository}/{path} is not in its cache;"
            " check the network or use --checkpoints or --demo"
        ) from error
    except EntryNotFoundError as error:
        raise HubError(f"{repository} has no file {path} in commit {revision}; check --revision") from error
    except (HTTPError, OSError, ValueError) as error:  # ValueError: a page of a proxy, where JSON was expected
        reason = str(error).split("\n")[0] or type(error).__name__
        raise HubError(f"{repository}/{path} could not be downloaded: {reason}") from error
