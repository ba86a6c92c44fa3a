"""Irreversibility and entropy production in real data."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # one line a function here, one in _HOMES
    from irrev.binning import SpikeBins as SpikeBins
    from irrev.binning import bin_spikes as bin_spikes
    from irrev.readers import open_source as open_source
    from irrev.readers.selection import conditions as conditions
    from irrev.readers.selection import select_units as select_units

__version__ = "0.1.0"

# public name -> its module, imported when the name is first used
_HOMES = {
    "SpikeBins": "irrev.binning",
    "bin_spikes": "irrev.binning",
    "conditions": "irrev.readers.selection",
    "open_source": "irrev.readers",
    "select_units": "irrev.readers.selection",
}


if not TYPE_CHECKING:  # a checker shall still find misspelt names

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, so that `import irrev` stays light."""
        if name not in _HOMES:
            raise AttributeError(f"module 'irrev' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
