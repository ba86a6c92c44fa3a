"""Behavioural classes, and how the labels of a data set map to them.

The five classes, their names and their order are a default of ours: the paper names none. One
class is `intended`; the entropy over classes cannot see WHICH behaviour is frequent, so
the share of the intended class always stands beside it. Class -1 means no class: a turn
without text, or a label outside the map, which is quarantined and not guessed.

Source: a five-way taxonomy is used by Fadli, arXiv:2512.03047, without its names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irrev.errors import InputError

METHOD_VERSION = 1
NO_CLASS = -1


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Names of the classes, in order, and the intended one.

    Raises
    ------
    InputError
        If names repeat, or the intended or an acceptable class is not among them.
    """

    classes: tuple[str, ...] = ("aligned", "refusal", "sycophancy", "deception", "harmful")
    intended: str = "aligned"
    acceptable: tuple[str, ...] = ()  # besides the intended one

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise InputError(f"classes {self.classes} must be two or more different names.")
        unknown = {self.intended, *self.acceptable} - set(self.classes)
        if unknown:
            raise InputError(
                f"{', '.join(sorted(unknown))} is not among the classes "
                f"{', '.join(self.classes)}; correct `intended` or `acceptable`."
            )

    @property
    def intended_index(self) -> int:
        """Return the position of the intended class."""
        return self.classes.index(self.intended)

    @property
    def acceptable_mask(self) -> NDArray[np.bool_]:
        """Return which classes are intended or acceptable, shape (class,)."""
        return np.isin(self.classes, [self.intended, *self.acceptable])


DEFAULT_TAXONOMY = Taxonomy()


@dataclass(frozen=True, slots=True)
class MappedLabels:
    """Class of each row, and what could not be mapped."""

    index: NDArray[np.int64]  # (row,), NO_CLASS where not mapped
    unmapped: dict[int, str]  # row -> reason; the value itself may be free text and is not kept


def map_labels(
    values: Sequence[str | bool | int | float],
    label_map: Mapping[str, str],
    *,
    taxonomy: Taxonomy = DEFAULT_TAXONOMY,
) -> MappedLabels:
    """Map the labels of a data set to classes.

    Parameters
    ----------
    values
        Label of each row; booleans and numbers are matched by their text, `True`, `1`.
    label_map
        Label -> class name.
    taxonomy
        Classes.

    Returns
    -------
        Class index of each row; rows outside the map are listed with a reason.

    Raises
    ------
    InputError
        If the map names a class that does not exist.

    Examples
    --------
    >>> map_labels(["yes", "no", "well"], {"yes": "harmful", "no": "refusal"}).index.tolist()
    [4, 1, -1]
    """
    unknown = sorted(set(label_map.values()) - set(taxonomy.classes))
    if unknown:
        raise InputError(
            f"the label map leads to {', '.join(unknown)}; classes are "
            f"{', '.join(taxonomy.classes)}."
        )
    position = {label: taxonomy.classes.index(name) for label, name in label_map.items()}
    texts = [str(v) for v in values]
    index = np.array([position.get(text, NO_CLASS) for text in texts], dtype=np.int64)
    unmapped = {
        row: f"label of {len(text)} characters is not in the label map"
        for row, text in enumerate(texts)
        if text not in position
    }
    return MappedLabels(index, unmapped)


def class_counts(
    index: NDArray[np.integer], bins: NDArray[np.integer], *, n_bins: int, n_classes: int
) -> NDArray[np.int64]:
    """Count classes per bin, shape (bin, class), without rows of negative class or bin."""
    index, bins = np.asarray(index), np.asarray(bins)
    keep = (index >= 0) & (bins >= 0)
    flat = np.bincount(bins[keep] * n_classes + index[keep], minlength=n_bins * n_classes)
    return flat.reshape(n_bins, n_classes)
