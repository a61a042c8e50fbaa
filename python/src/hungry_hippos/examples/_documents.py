"""Where documents lie in the rows of a case's input."""

from __future__ import annotations

import numpy as np

from .._golden import Golden

#: Row, first token and end of every document.
Documents = tuple[tuple[int, int, int], ...]


def documents_of(golden: Golden, input: np.ndarray) -> Documents:
    """Those of a golden file whose input has rows of tokens on its first two axes: packed into one row (``cu_seqlens``), beside
    padding (``lengths``), or one in every row."""
    rows, length = input.shape[:2]
    if "cu_seqlens" in golden:
        bounds = golden["cu_seqlens"].tolist()
        return tuple((0, begin, end) for begin, end in zip(bounds, bounds[1:]))
    lengths = golden["lengths"].tolist() if "lengths" in golden else [length] * rows
    left = golden.metadata.get("padding") == "left"
    return tuple((row, length - n, length) if left else (row, 0, n) for row, n in enumerate(lengths))


def places(documents: Documents, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """For every token (rows, length) the number of its document, and how many tokens of it came before; 0 and -1 at padding."""
    place, since = np.zeros((rows, length), int), np.full((rows, length), -1)
    for n, (row, begin, end) in enumerate(documents):
        place[row, begin:end], since[row, begin:end] = n, np.arange(end - begin)
    return place, since
