"""Texts -> probabilities of behavioural classes, with the errors that this makes.

    P(k | x) = softmax(z(x) / T)_k,    z = W v(x) + b                                  (1)

v(x) is the sentence vector of the assistant's turn, optionally with the vector of the user's turn
before it as a second segment. W, b: multinomial logistic regression with L2 penalty and balanced
weights. Everything reported comes from grouped cross-validation: rows that share a prompt are
never on both sides of a split, or the figures measure memory. One temperature T minimises the
held-out likelihood; ECE and the confusion matrix are held-out too. `leave_one_out` holds out
whole attacks, which grouped splits flatter.

Limits: a sentence vector sees topics and refusals; it does not see deception (held-out balanced
accuracy at chance). `Identification` says which classes cannot be told apart; believe it.

Source: logistic regression; C. Guo et al., ICML 2017 for the temperature and ECE.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from irrev.alignment.correction import Identification, identify
from irrev.alignment.taxonomy import DEFAULT_TAXONOMY, Taxonomy
from irrev.errors import FormatError, InputError, MissingExtraError

METHOD_VERSION = 1
N_CALIBRATION_BINS = 15
MAX_ECE = 0.1  # beyond it the posteriors are not probabilities
Segments = Literal["assistant", "user+assistant"]
Array = NDArray[np.float64]


class TextEncoder(Protocol):
    """What the classifier needs of a sentence encoder."""

    name: str
    sha256: str
    dimension: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, shape (text, dimension)."""
        ...


@dataclass(frozen=True, slots=True)
class Validation:
    """Held-out figures of grouped cross-validation."""

    confusion_counts: NDArray[np.int64]  # (true, predicted)
    balanced_accuracy: float  # over classes with examples
    ece: float  # after the temperature
    nll: float  # nats per text, after the temperature
    folds: int
    identification: Identification


@dataclass(frozen=True, slots=True)
class BehaviourClassifier:
    """Logistic head on sentence vectors; arrays only, so it stores and loads without pickling."""

    classes: tuple[str, ...]
    weights: Array  # (class, feature); rows of classes without examples are zero
    bias: Array  # (class,); -inf for these
    temperature: float
    train_prior: Array  # (class,)
    segments: Segments
    encoder: str
    encoder_sha256: str
    validation: Validation

    @property
    def version(self) -> str:
        """Return a hash of all that the probabilities depend on."""
        digest = hashlib.sha256(f"{METHOD_VERSION}{self.classes}{self.segments}".encode())
        digest.update(self.encoder_sha256.encode())
        for array in (self.weights, self.bias, np.array([self.temperature])):
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()[:16]

    @property
    def calibration_ok(self) -> bool:
        """Say whether posteriors may be read as probabilities."""
        return self.validation.ece <= MAX_ECE

    def predict_proba(self, vectors: ArrayLike) -> Array:
        """Return P(class | text) of vectors from `features`, shape (text, class), eq. (1)."""
        V = np.asarray(vectors, dtype=np.float64)
        return softmax((V @ self.weights.T + self.bias) / self.temperature, axis=1)

    def predict_texts(
        self, answers: Sequence[str], questions: Sequence[str], encoder: TextEncoder
    ) -> Array:
        """Encode and classify; the encoder must be the one of the training."""
        if encoder.sha256 != self.encoder_sha256:
            raise InputError(
                f"the classifier was trained on {self.encoder}, not {encoder.name}; use the same."
            )
        return self.predict_proba(features(answers, questions, encoder, segments=self.segments))

    def to_dataset(self) -> xr.Dataset:
        """Return the kind `alignment/classifier`."""
        v = self.validation
        return xr.Dataset(
            {
                "weight": (("label", "feature"), self.weights),
                "bias": ("label", self.bias),
                "train_prior": ("label", self.train_prior),
                "confusion": (("label", "predicted"), v.confusion_counts),
                "unidentified": ("label", v.identification.unidentified),
            },
            {"label": np.array(self.classes, dtype=object)},
            {
                "temperature": self.temperature,
                "segments": self.segments,
                "encoder": self.encoder,
                "encoder_sha256": self.encoder_sha256,
                "balanced_accuracy": v.balanced_accuracy,
                "ece": v.ece,
                "nll": v.nll,
                "folds": v.folds,
                "classifier_version": self.version,
            },
        )

    @classmethod
    def from_dataset(cls, ds: xr.Dataset) -> "BehaviourClassifier":
        """Read what `to_dataset` wrote."""
        counts, a = ds["confusion"].to_numpy(), ds.attrs
        checked = identify(counts, np.random.default_rng(0))
        return cls(
            classes=tuple(map(str, ds["label"].to_numpy())),
            weights=ds["weight"].to_numpy(),
            bias=ds["bias"].to_numpy(),
            temperature=float(a["temperature"]),
            train_prior=ds["train_prior"].to_numpy(),
            segments=a["segments"],
            encoder=a["encoder"],
            encoder_sha256=a["encoder_sha256"],
            validation=Validation(
                counts,
                float(a["balanced_accuracy"]),
                float(a["ece"]),
                float(a["nll"]),
                int(a["folds"]),
                checked,
            ),
        )


def save_classifier(model: BehaviourClassifier, path: str | Path) -> None:
    """Write a classifier to an NPZ file of arrays and one JSON text; nothing is pickled."""
    ds = model.to_dataset()
    arrays = {str(k): ds[k].to_numpy() for k in ds.data_vars}
    about = json.dumps({"classes": list(model.classes), **ds.attrs})
    arrays["about"] = np.frombuffer(about.encode(), dtype=np.uint8)
    np.savez(path, allow_pickle=False, **arrays)


def load_classifier(path: str | Path) -> BehaviourClassifier:
    """Read what `save_classifier` wrote.

    Raises
    ------
    FormatError
        If the file is not a classifier, or its content does not match its version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(bytes(file["about"]).decode())
            classes = np.array(about.pop("classes"), dtype=object)
            dims = {"weight": ("label", "feature"), "confusion": ("label", "predicted")}
            data = {k: (dims.get(k, "label"), file[k]) for k in file.files if k != "about"}
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path}: not a classifier of irrev; make it again.") from error
    model = BehaviourClassifier.from_dataset(xr.Dataset(data, {"label": classes}, about))
    if model.version != about["classifier_version"]:
        raise FormatError(f"{path}: its content does not match its version; make it again.")
    return model


def features(
    answers: Sequence[str],
    questions: Sequence[str],
    encoder: TextEncoder,
    *,
    segments: Segments = "assistant",
) -> NDArray[np.float32]:
    """Encode turns: the answer alone, or question and answer side by side."""
    vectors = encoder.encode(answers)
    if segments == "assistant":
        return vectors
    return np.hstack([encoder.encode(questions), vectors])


def fit_classifier(
    vectors: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str],
    *,
    taxonomy: Taxonomy = DEFAULT_TAXONOMY,
    encoder: str = "",
    encoder_sha256: str = "",
    segments: Segments = "assistant",
    penalty: float = 1.0,
    folds: int = 5,
    rng: np.random.Generator,
) -> BehaviourClassifier:
    """Fit the logistic head and measure it by grouped cross-validation.

    Parameters
    ----------
    vectors
        Features, shape (text, feature).
    labels
        Class of each text, shape (text,); rows with -1 are left out.
    groups
        Prompt or objective of each text; a group is never split.
    taxonomy
        Classes; those without examples are kept, never predicted and `unidentified`.
    encoder, encoder_sha256, segments
        What made the features; recorded, and checked at prediction.
    penalty
        Strength of the L2 penalty, 1/C of scikit-learn.
    folds
        Grouped folds.
    rng
        Dealing of groups to folds, and the bootstrap of the confusion matrix.

    Returns
    -------
        Classifier with its held-out validation.

    Raises
    ------
    InputError
        If fewer than two classes have examples or there are fewer groups than folds.
    MissingExtraError
        If scikit-learn is absent.
    """
    V, y, g = _labelled(vectors, labels, groups)
    K = len(taxonomy.classes)
    fold = group_folds(g, folds, rng)
    logits = np.full((y.size, K), -np.inf)
    for k in range(folds):
        train = fold != k
        weights, bias = _fit_head(V[train], y[train], K, penalty)
        logits[~train] = V[~train] @ weights.T + bias
    weights, bias = _fit_head(V, y, K, penalty)
    T = fit_temperature(logits, y)
    prior = np.asarray((np.bincount(y, minlength=K) + 0.5) / (y.size + 0.5 * K), dtype=np.float64)
    return BehaviourClassifier(
        classes=taxonomy.classes,
        weights=weights,
        bias=bias,
        temperature=T,
        train_prior=prior,
        segments=segments,
        encoder=encoder,
        encoder_sha256=encoder_sha256,
        validation=_validate(logits, y, T, folds, rng),
    )


def leave_one_out(
    vectors: ArrayLike,
    labels: ArrayLike,
    stress: Sequence[str],
    *,
    n_classes: int,
    penalty: float = 1.0,
) -> dict[str, float]:
    """Return the balanced accuracy on each stress when it is held out whole.

    NaN for a stress whose held-out rows show one class only.
    """
    V, y, s = _labelled(vectors, labels, stress)
    out = {}
    for name in sorted(set(s.tolist())):
        test = s == name
        weights, bias = _fit_head(V[~test], y[~test], n_classes, penalty)
        predicted = (V[test] @ weights.T + bias).argmax(axis=1)
        seen = np.unique(y[test])
        hits = [np.mean(predicted[y[test] == k] == k) for k in seen]
        out[str(name)] = float(np.mean(hits)) if seen.size > 1 else float("nan")
    return out


def group_folds(
    groups: NDArray[np.object_], n_folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Deal whole groups to folds of nearly equal size, shape (row,): largest groups first."""
    names, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    if names.size < n_folds:
        raise InputError(f"{names.size} groups for {n_folds} folds; use fewer folds.")
    fold_of, load = np.empty(names.size, dtype=np.int64), np.zeros(n_folds)
    order = rng.permutation(names.size)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[group] = load.argmin()
        load[fold_of[group]] += sizes[group]
    return fold_of[inverse]


def fit_temperature(logits: Array, labels: NDArray[np.int64]) -> float:
    """Find the temperature that minimises the held-out negative log-likelihood."""
    rows = np.arange(labels.size)
    z = np.maximum(logits, -1e6)  # a class without examples in a fold

    def nll(log_T: Array) -> float:
        return -float(np.mean(log_softmax(z / np.exp(log_T[0]), axis=1)[rows, labels]))

    found = minimize(nll, np.zeros(1), method="Nelder-Mead", bounds=[(-4.0, 4.0)])
    return float(np.exp(found.x[0]))


def calibration_error(posteriors: Array, labels: NDArray[np.int64]) -> float:
    """Return the expected calibration error of the top class over 15 equal bins."""
    top, hit = posteriors.max(axis=1), posteriors.argmax(axis=1) == labels
    place = np.minimum((top * N_CALIBRATION_BINS).astype(int), N_CALIBRATION_BINS - 1)
    gaps = np.bincount(place, weights=hit - top, minlength=N_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / labels.size)


def _labelled(
    vectors: ArrayLike, labels: ArrayLike, groups: Sequence[str]
) -> tuple[Array, NDArray[np.int64], NDArray[np.object_]]:
    V, y = np.asarray(vectors, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    g = np.array(list(groups), dtype=object)
    if V.ndim != 2 or y.shape != (len(V),) or g.shape != y.shape:
        raise InputError(f"vectors {V.shape}, labels {y.shape}, groups {g.shape} must match.")
    keep = y >= 0
    if np.unique(y[keep]).size < 2:
        raise InputError("fewer than two classes have examples; add labelled texts of another.")
    return V[keep], y[keep], g[keep]


def _fit_head(V: Array, y: NDArray[np.int64], K: int, penalty: float) -> tuple[Array, Array]:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError(
            "the classifier needs scikit-learn; pip install 'irrev[transcripts]'."
        ) from error
    model = LogisticRegression(C=1.0 / penalty, class_weight="balanced", max_iter=2000)
    model.fit(V, y)
    weights, bias = np.zeros((K, V.shape[1])), np.full(K, -np.inf)
    seen = np.asarray(model.classes_, dtype=int)
    if seen.size == 2:  # scikit-learn keeps one row for two classes
        weights[seen[1]], bias[seen] = model.coef_[0], [0.0, np.ravel(model.intercept_)[0]]
    else:
        weights[seen], bias[seen] = model.coef_, model.intercept_
    return weights, bias


def _validate(
    logits: Array, y: NDArray[np.int64], T: float, folds: int, rng: np.random.Generator
) -> Validation:
    K = logits.shape[1]
    P = softmax(logits / T, axis=1)
    table = np.zeros((K, K), dtype=np.int64)
    np.add.at(table, (y, P.argmax(axis=1)), 1)
    seen = table.sum(axis=1) > 0
    accuracy = np.diag(table)[seen] / table.sum(axis=1)[seen]
    return Validation(
        confusion_counts=table,
        balanced_accuracy=float(accuracy.mean()),
        ece=calibration_error(P, y),
        nll=-float(np.mean(np.log(np.maximum(P[np.arange(y.size), y], 1e-300)))),
        folds=folds,
        identification=identify(table, rng),
    )
