"""Everything that irrev raises or warns on purpose.

A message says what is wrong with the values in it, where, and how to mend it.
"""


class IrrevError(Exception):
    """Base of every error raised on purpose."""


class InputError(IrrevError, ValueError):
    """An argument has the wrong shape, type, unit or range."""


class FormatError(IrrevError, ValueError):
    """A file is not what its reader expects: path, record and field are named."""


class ConfigError(IrrevError, ValueError):
    """pipeline.yaml is wrong: the key's path and the nearest valid key are named."""


class MissingExtraError(IrrevError, ImportError):
    """An optional dependency is absent: the extra to install is named."""


class StoreError(IrrevError):
    """The store has no such version, refuses a commit, or is of another schema."""


class ConvergenceError(IrrevError, RuntimeError):
    """An iteration did not converge; `best` holds the last iterate, so no work is lost."""

    def __init__(self, message: str, best: object = None) -> None:
        super().__init__(message)
        self.best = best


class IrrevWarning(UserWarning):
    """The result is valid but weak: short data, wide interval, saturated estimate."""
