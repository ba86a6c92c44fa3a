"""Bodies of jobs that processes can import."""

import numpy as np


def rows(start, stop, width):
    return [np.arange(start, stop, dtype=float)[:, None] * np.ones(width)]


def breaks(start, stop, width):
    return [np.full((stop - start, width), 1 / 0)]


def too_short(start, stop, width):
    return [np.ones((1, width))]
