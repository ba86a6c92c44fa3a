"""What all commands share: the terminal, the options, errors as one line, progress."""

import errno
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows import progress
from irrev.errors import IrrevError

P = ParamSpec("P")
R = TypeVar("R")

# names of files and conditions are printed as they are: no `[a]` is a style, no `:x:` a picture
PLAIN: Any = {"soft_wrap": True, "highlight": False, "markup": False, "emoji": False}
# elsewhere than on a terminal one row is one line, however long
out = Console(width=None if sys.stdout.isatty() else 1000, **PLAIN)
err = Console(stderr=True, **PLAIN)

ConfigOption = Annotated[str, typer.Option("--config", "-c", help="pipeline file")]
JsonOption = Annotated[bool, typer.Option("--json", help="print data instead of text")]
AtOption = Annotated[
    str | None, typer.Option("--at", help="version id, tag, branch or date; default: the newest")
]
DEFAULT = "pipeline.yaml"
MENDS = {  # of what no program can help
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change its permissions"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space and run again"),
}


def friendly(command: Callable[P, R]) -> Callable[P, R]:
    """Print one line and exit with 2 for every error raised on purpose, or by a locked folder."""

    @wraps(command)
    def run_command(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except IrrevError as error:
            err.print(str(error))
        except OSError as error:
            if error.errno not in MENDS:
                raise
            where = error.filename or "the disk"
            err.print(f"{where}: {error.strerror}; {MENDS[error.errno]}.")
        raise typer.Exit(2)

    return run_command


def print_json(data: Any) -> None:
    """Print data on standard output."""
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[None]:
    """Show a bar on a terminal, a line now and then elsewhere."""
    if quiet:
        yield
    elif out.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=out) as bars:
            ids: dict[str, Any] = {}

            def draw(step: str, done: int, total: int) -> None:
                if step not in ids:
                    ids[step] = bars.add_task(step)
                bars.update(ids[step], completed=done, total=total)

            with progress.listening(draw):
                yield
    else:
        with progress.listening(_print_progress):
            yield


def _print_progress(step: str, done: int, total: int) -> None:
    if (
        total <= 10 or done in (1, total) or done * 10 // total > (done - 1) * 10 // total
    ):  # every tenth
        out.print(f"{step:<12}{done}/{total}")
