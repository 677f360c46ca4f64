"""Checkpoints from the Hugging Face hub, by repository and pinned commit."""

from __future__ import annotations

import re
from pathlib import Path

from export.errors import HubError
from systems import System

COMMIT = re.compile(r"[0-9a-f]{40}")


def check_revision(revision: str | None) -> str:
    """Accept the full sha of a commit only: a branch or tag can change under our feet."""
    if revision is None or not COMMIT.fullmatch(revision):
        raise HubError(
            f"--hub needs --revision with the 40 hexadecimal digits of a commit, not {revision!r};"
            " copy it from the page 'History' of the repository"
        )
    return revision


def download(repository: str, system: System, revision: str) -> Path:
    """Path of the system's checkpoint in the hub's own cache; fetched where it is not there yet.

    HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as everywhere.

    Raises
    ------
    HubError
        hub not reachable, no such repository, file or commit, or no access to it
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # it warns of each of its retries
    file = system.released.file
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except GatedRepoError as error:
        raise HubError(
            f"{repository} asks for its conditions to be accepted; do so on its page and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"the hub has no repository {repository}, or it is private and HF_TOKEN is not set"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repository} has no commit {revision}; check --revision") from error
    except LocalEntryNotFoundError as error:  # is an EntryNotFoundError too: the hub was not asked
        raise HubError(
            f"the hub cannot be reached and {repository}/{file} is not in its cache;"
            " check the network or use --checkpoints or --demo"
        ) from error
    except EntryNotFoundError as error:
        raise HubError(f"{repository} has no file {file} in commit {revision}; check --revision") from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise HubError(f"{repository}/{file} could not be downloaded: {reason}") from error
