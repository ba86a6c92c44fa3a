"""Sentence vectors in the store: a text is embedded once, whatever file or flow it came with."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from irrev.semantic.embeddings import Embeddings, Encoder, text_hashes
from storage.layout import VECTORS
from storage.repository import Repository, StoreRef


@dataclass(frozen=True, slots=True)
class Known:
    """Vectors that lie in the store."""

    vectors: Embeddings | None
    elsewhere: frozenset[str]  # hashes of texts found in other groups than the caller's own

    def fresh(self, found: Embeddings) -> Embeddings:
        """Return those of `found` that no other group of the store holds."""
        rows = [i for i, h in enumerate(found.text_hash.tolist()) if h not in self.elsewhere]
        return Embeddings(
            found.text_hash[rows], found.vectors[rows], found.encoder, found.encoder_sha256
        )


def known_vectors(
    ref: StoreRef, texts: Iterable[str], encoder: Encoder, *, first: str = ""
) -> Known:
    """Find the vectors of these texts that earlier runs stored with the same encoder.

    Memory is that of the vectors found, and of the hashes of one group at a time.

    Parameters
    ----------
    ref
        The store.
    texts
        Texts that are about to be embedded.
    encoder
        What will embed the others.
    first
        The caller's own group: looked into before the others.
    """
    repo = Repository.open(ref)
    missing = set(text_hashes(texts).tolist())
    found: list[Embeddings] = []
    elsewhere: set[str] = set()
    for group in dict.fromkeys(_groups(repo, first)):
        if not missing:
            break
        ds = repo.read(group)
        if ds.attrs.get("encoder_sha256") != encoder.sha256:
            continue
        rows = [i for i, text in enumerate(ds["text"].to_numpy().tolist()) if text in missing]
        if rows:
            found.append(Embeddings.from_dataset(ds.isel(text=rows).load()))
            hashes = set(found[-1].text_hash.tolist())
            missing -= hashes
            elsewhere |= hashes if group != first else set()
    if not found:
        return Known(None, frozenset())
    hashes = np.concatenate([f.text_hash for f in found])
    vectors = np.concatenate([f.vectors for f in found])
    order = np.argsort(hashes)
    known = Embeddings(hashes[order], vectors[order], encoder.name, encoder.sha256)
    return Known(known, frozenset(elsewhere))


def _groups(repo: Repository, first: str) -> Iterator[str]:
    """Walk the groups that hold vectors, `first` before all others."""
    if first and repo.has(first):
        yield first
    waiting = list(VECTORS)
    while waiting:
        group = waiting.pop()
        below = repo.children(group)
        if below:
            waiting += [f"{group}/{name}" for name in below]
        elif group not in VECTORS:
            yield group
