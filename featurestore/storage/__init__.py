"""Bytes under a root: files, the lock, the journal, atomic writes, checksums."""

import os
from pathlib import Path

from featurestore.storage.files import Files
from featurestore.storage.local import LocalFiles
from featurestore.storage.remote import RemoteFiles


def open_files(root: str | Path, run_id: str | None = None) -> Files:
    """Files below a local folder, or at a URL that fsspec knows; see `Files`.

    Raises
    ------
    SettingsError
        If it is a URL that holds a password or a query.
    """
    text = os.fspath(root)
    return RemoteFiles(text, run_id) if "://" in text else LocalFiles(text, run_id)
