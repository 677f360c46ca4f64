"""Downloads checkpoints and example recordings from the Hugging Face hub, by repository and pinned commit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import HubError

COMMIT = re.compile(r"[0-9a-f]{40}")


def check_revision(revision: str | None) -> str:
    """Return the revision if it is the full SHA of a commit; a branch or tag can change at any time."""
    if revision is None or not COMMIT.fullmatch(revision):
        raise HubError(
            f"--hub needs --revision with the 40 hexadecimal digits of a commit, not {revision!r};"
            " copy it from the repository's page 'History'"
        )
    return revision


def download(repository: str, file: str, revision: str) -> Path:
    """Return the path of a file in the hub's own cache; download it if necessary.

    HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE have their usual meaning.

    Raises
    ------
    HubError
        If the hub cannot be reached, has no such repository, file or commit, or denies access.
    """
    from huggingface_hub import hf_hub_download

    with _refusals(repository, file, revision):
        return Path(hf_hub_download(repository, file, revision=revision))


def sizes(repository: str, folder: str, revision: str) -> dict[str, int]:
    """Return path -> size in bytes of the files below a folder of a repository; empty if there is no such folder.

    Each call queries the hub: its cache holds files, not listings of folders.

    Raises
    ------
    HubError
        If the hub cannot be reached, has no such repository or commit, or denies access.
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
    """Convert errors of huggingface_hub to a HubError that says what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,  # of its HTTP library, which differs between versions
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # it would warn of each retry
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
    except LocalEntryNotFoundError as error:  # an EntryNotFoundError without a query of the hub
        raise HubError(
            f"the hub cannot be reached and {repository}/{path} is not in its cache;"
            " check the network or use --checkpoints or --demo"
        ) from error
    except EntryNotFoundError as error:
        raise HubError(f"{repository} has no file {path} in commit {revision}; check --revision") from error
    except (HTTPError, OSError, ValueError) as error:  # ValueError: a page of a proxy, where JSON was expected
        reason = str(error).split("\n")[0] or type(error).__name__
        raise HubError(f"{repository}/{path} could not be downloaded: {reason}") from error
