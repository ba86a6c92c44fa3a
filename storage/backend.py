"""Where a store is: a folder, a prefix in an S3 bucket, or this process's memory.

The three differ in how they are opened and in what keeps two commits apart: a folder needs a
lock around each commit (without it, of 80 commits by 8 writers some were lost), S3 has
conditional writes, memory has a lock of this process.
"""

import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import filelock
import icechunk as ic
import zarr.errors

from irrev.errors import StoreError

ic.set_logs_filter("error")  # "local storage is not safe" is answered by the lock

LOCK_TIMEOUT_S = 120.0  # a commit takes 0.03 s; 100 writers in a queue are still well below
MAKING_S, POLL_S = 10.0, 0.1  # making a store takes some requests
ANSWER_S, ASKED = 20.0, 5  # an S3 server that has not answered a bare question by then will not
WRITE_LIMIT_S = 1800.0  # one commit to S3; the largest of ours takes minutes
MEMORY = "memory:"
PARTS = {"chunks", "manifests", "refs", "snapshots", "transactions", "config.yaml"}
MENDS = (
    (r"[Pp]ermission denied|[Rr]ead-only", "make it writable or set another `store.url`"),
    (r"[Nn]o space|too large|[Qq]uota", "free some space and run again; finished work is kept"),
    (r"AccessDenied|InvalidAccessKey|SignatureDoesNotMatch|credential", "check AWS_* credentials"),
    (r"NoSuchBucket", "make the bucket first"),
    (r"service error|SlowDown|InternalError", "the server failed again and again; try later"),
    (r"dispatch failure|timed? ?out|[Cc]onnection", "check the network and AWS_ENDPOINT_URL"),
)

T = TypeVar("T")
_memory: dict[str, ic.Storage] = {}
_memory_locks: dict[str, threading.RLock] = {}
_memory_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class StoreRef:
    """Address of a store and the branch that is read and written; small, pickles."""

    url: str  # folder path | s3://bucket/prefix | memory:NAME
    branch: str = "main"

    @property
    def is_folder(self) -> bool:
        """Whether the store is a folder on this machine."""
        return not self.url.startswith((MEMORY, "s3://"))

    def on(self, branch: str) -> "StoreRef":
        """Give the same store on another branch."""
        return replace(self, branch=branch)

    def absolute(self) -> "StoreRef":
        """Give the same address, to be opened from any working folder."""
        if not self.is_folder:
            return self
        path = Path(self.url.removeprefix("file://")).expanduser()
        return replace(self, url=str(path.absolute()))


def storage_of(ref: StoreRef) -> ic.Storage:
    """Turn an absolute address into Icechunk's storage."""
    if ref.url.startswith(MEMORY):
        with _memory_guard:
            return _memory.setdefault(ref.url, ic.in_memory_storage())
    if ref.url.startswith("s3://"):
        return _s3(ref.url)
    return ic.local_filesystem_storage(ref.url)


def exists(ref: StoreRef) -> bool:
    """Say whether there is a store; unlike Icechunk's own question this makes no folder.

    Raises
    ------
    StoreError
        If a file is in the folder's place, or the folder cannot be read.
    """
    ref = ref.absolute()
    if ref.is_folder:
        path = Path(ref.url)
        if not path.exists():
            return False
        if not path.is_dir():
            raise StoreError(f"{ref.url}: a file, not a folder; choose another `store.url`.")
        if not os.access(path, os.R_OK | os.X_OK):
            raise StoreError(f"{ref.url}: may not be read by this user; change its permissions.")
    with one_line_errors(ref):
        _check_answers(ref)
        return ic.Repository.exists(storage_of(ref))


def _check_answers(ref: StoreRef) -> None:
    """Raise unless an endpoint's server answers: Icechunk would wait for ever."""
    endpoint = _endpoint()
    if not (ref.url.startswith("s3://") and endpoint):
        return
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    for _ in range(ASKED):
        try:
            ask(urllib.request.Request(endpoint, method="HEAD"), timeout=ANSWER_S).close()
        except urllib.error.HTTPError as answer:
            answer.close()  # a refusal is an answer
            return
        except TimeoutError:
            break
        except OSError:
            time.sleep(POLL_S)  # busy or cut off: asked again
        else:
            return
    raise StoreError(f"{ref.url}: no answer; check the network and AWS_ENDPOINT_URL.")


def within_limit(ref: StoreRef, write: Callable[[], T]) -> T:
    """Write to S3 in a thread that is given up after a limit; elsewhere just write.

    Raises
    ------
    StoreError
        If the server has stopped answering.
    """
    if not ref.url.startswith("s3://"):
        return write()
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(write())
        except BaseException as error:  # raised below, in the caller's thread
            done.set_exception(error)

    threading.Thread(target=work, daemon=True, name="commit").start()
    try:
        return done.result(WRITE_LIMIT_S)
    except TimeoutError:
        if done.done():
            return done.result()
        raise StoreError(
            f"{ref.url}: a commit takes over {WRITE_LIMIT_S:.0f} s; check the network, run again."
        ) from None


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def make(ref: StoreRef) -> ic.Repository:
    """Make a store, or open the one that another process made in this moment.

    Raises
    ------
    StoreError
        If the folder holds files of something else.
    """
    with lock_of(ref):
        if ref.is_folder:
            path = Path(ref.url)
            path.mkdir(parents=True, exist_ok=True)
            if foreign := sorted({p.name for p in path.iterdir()} - PARTS):
                raise StoreError(
                    f"{ref.url}: holds {foreign[0]!r} but no store; "
                    "choose an empty or new folder as `store.url`."
                )
        return _open_or_create(ref)


def _open_or_create(ref: StoreRef) -> ic.Repository:
    """Make a store; if another process is at it (on S3 there is no lock), wait for that one."""
    storage = storage_of(ref)
    for _ in range(int(MAKING_S / POLL_S)):
        try:
            return ic.Repository.open_or_create(storage)
        except ic.IcechunkError as error:
            if not re.search("clean prefixes|branch update conflict", str(error)):
                raise
        time.sleep(POLL_S)
    raise StoreError(f"{ref.url}: a store was begun here and never finished; empty it first.")


def _s3(url: str) -> ic.Storage:
    """Open a bucket; region, endpoint and credentials come from AWS's usual variables."""
    parts = urlsplit(url)
    if not parts.netloc:
        raise StoreError(f"{url}: no bucket; write s3://bucket/prefix.")
    endpoint = _endpoint()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return ic.s3_storage(
        bucket=parts.netloc,
        prefix=parts.path.strip("/") or None,
        region=region or ("us-east-1" if endpoint else None),
        endpoint_url=endpoint,
        allow_http=bool(endpoint and endpoint.startswith("http://")),
        force_path_style=bool(endpoint),
        from_env=True,  # so that no credential is pickled with a fork
    )


def lock_of(ref: StoreRef) -> AbstractContextManager[object]:
    """Give what a writer holds while it commits; entering it twice by one owner is allowed."""
    if ref.url.startswith(MEMORY):
        with _memory_guard:
            return _memory_locks.setdefault(ref.url, threading.RLock())
    if ref.url.startswith("s3://"):
        return nullcontext()
    return filelock.FileLock(f"{ref.url}.lock", timeout=LOCK_TIMEOUT_S)


@contextmanager
def one_line_errors(ref: StoreRef) -> Iterator[None]:
    """Turn what Icechunk, zarr and the file system raise into one line with a mend."""
    try:
        yield
    except StoreError:
        raise
    except filelock.Timeout as error:
        raise StoreError(
            f"{ref.url}: another process has held {error.lock_file} for {LOCK_TIMEOUT_S:.0f} s; "
            "end it and run again."
        ) from None
    except (ic.IcechunkError, OSError, zarr.errors.BaseZarrError) as error:
        raise StoreError(f"{ref.url}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Take the gist of an error of several lines, and what to do about it."""
    lines = [re.sub(r"^[\s|x`>×├╰─▶-]+", "", line) for line in str(error).splitlines()]
    gist = next((line for line in lines if line), type(error).__name__)
    gist = re.sub(r" \(os( error \d+\)?)?$", "", gist)  # cut off by the width of a line
    mend = next((mend for pattern, mend in MENDS if re.search(pattern, str(error))), None)
    return f"{gist}; {mend}." if mend else f"{gist}."
