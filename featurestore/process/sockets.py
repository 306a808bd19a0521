"""Where multiprocessing puts its Unix sockets."""

import contextlib
import os
import tempfile
from multiprocessing import util

_LONGEST = 103
"""Of a Unix socket's path, on any system [bytes]; Linux takes 107."""

_WITHIN = len("/pymp-12345678/listener-12345678")
"""What multiprocessing adds to the folder for temporary files [bytes]."""


def keep_sockets_short() -> None:
    """Have this process and its children make their sockets in ``/tmp`` if ``TMPDIR`` is too long.

    To be called before processes are started. The folder that multiprocessing makes, for its owner
    alone, is made once a process; those that it starts later inherit it. Without this a ``TMPDIR``
    of 76 characters is "AF_UNIX path too long" in Python before 3.14: of a fork server, and of
    PyTorch's loader.
    """
    if len(os.fsencode(tempfile.gettempdir())) + _WITHIN <= _LONGEST:
        return
    usual, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        with contextlib.suppress(OSError):  # no /tmp: then who makes the socket says what is wrong
            util.get_temp_dir()
    finally:
        tempfile.tempdir = usual
