"""What a URL, or a local path, leads to, through fsspec."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from featurestore.errors import MelgridError, SettingsError, StorageError

if TYPE_CHECKING:
    import fsspec


@contextlib.contextmanager
def file_system(url: str) -> Iterator[tuple["fsspec.AbstractFileSystem", str]]:
    """The file system that a URL, or a local path, is in, and the path there; a context manager.

    Credentials and endpoints come from where the protocol's library looks for them (for S3 the
    ``AWS_*`` variables, ``~/.aws``, fsspec's own configuration), never from melgrid or the URL.

    Raises
    ------
    SettingsError
        If the URL's protocol is not known, or needs a library that is not installed.
    StorageError
        On leaving, for whatever goes wrong within, but that there is no such file: protocols have
        errors of their own, some of which are not even an OSError.
    """
    import fsspec

    try:
        # Asked for each time: fsspec keeps one a process, and forgets them in a forked child, in
        # which they do not work. No listings are kept, since other processes write there too.
        plain, chain, rest = url.partition("::")
        filesystem, path = fsspec.url_to_fs(
            url if "://" in rest else plain, use_listings_cache=False
        )
        if chain and "://" not in rest:  # part of a name, not a chain such as zip://a::s3://b/c.zip
            path = filesystem._strip_protocol(url)
    except ImportError as error:
        protocol = url.split("://")[0]
        extra = "'melgrid[s3]'" if protocol in ("s3", "s3a") else f"what {protocol}:// needs"
        raise SettingsError(f"{url} cannot be used: {error}; pip install {extra}") from None
    except ValueError as error:
        raise SettingsError(f"{url} cannot be used: {error}") from None
    if "s3" in filesystem.protocol:
        _fetch_again_what_arrives_damaged()
    try:
        yield filesystem, path
    except (MelgridError, FileNotFoundError, NotADirectoryError):
        raise
    except (TypeError, AttributeError, LookupError, NameError, AssertionError):
        raise  # mistakes of ours
    except Exception as error:
        message = " ".join(str(error).split()).rstrip(".")  # in one line
        reason = _without_secrets(message) or type(error).__name__
        if is_damaged_transfer(error):
            raise StorageError(
                f"{url} arrives damaged each time it is fetched: {reason}; look at the network, "
                "and run again to continue"
            ) from None
        raise StorageError(
            f"{url} cannot be used: {reason}; look at the address, the credentials and the endpoint"
        ) from None


@cache
def _fetch_again_what_arrives_damaged() -> None:
    """Have S3's library do so where a checksum tells, as it does after a 503: five times at most.

    Left to itself it takes that for a mistake of the caller's.
    """
    from botocore.exceptions import FlexibleChecksumError
    from s3fs.core import add_retryable_error

    add_retryable_error(FlexibleChecksumError)


def is_damaged_transfer(error: BaseException) -> bool:
    """Whether the client found, by a checksum, that bytes are not those which were sent."""
    return type(error).__name__ == "FlexibleChecksumError"


def version_of(info: Mapping[str, object]) -> str:
    """What differs once a remote file is another one, from what its file system tells of it.

    The first there is of ETag, which follows from the bytes, and time of change.
    """
    keys = "ETag", "etag", "LastModified", "last_modified", "mtime", "created"
    return str(next((info[key] for key in keys if info.get(key)), ""))


def refuse_secrets(url: str) -> None:
    """Refuse a URL that holds a password or a query, which messages would repeat.

    Raises
    ------
    SettingsError
        If it does; the message leaves it out.
    """
    if re.match(r"[^/]*://([^/]*:[^/]*@|[^?]*\?)", url):
        raise SettingsError(
            f"{_without_secrets(url)} was given with a password or a query, which messages would "
            "show; leave it out, and put credentials where the protocol's library looks for them"
        )


def _without_secrets(text: str) -> str:
    """A message with what may be secret in its URLs left out."""
    return re.sub(r"\?\S*", "", re.sub(r"://[^/\s]*@", "://", text))
