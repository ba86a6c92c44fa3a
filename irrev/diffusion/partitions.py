"""Semantic questions about a class label: partitions, hierarchies, and their posteriors.

A partition asks which of m disjoint class sets S_1..S_m a state belongs to; the sets need not
cover all classes. With log ratios L_c of the classes and prior pi,

    p(S_z | x) ~ sum_{c in S_z} pi_c exp(L_c),        D_S = sum_{c in S} p(c | x, S) D_c     (1)

and for sets that cover every class the chain rule

    H(C | x) = H(S | x) + sum_z p(S_z | x) H(C | x, S_z)                                     (2)

holds on each state. States of classes outside the partition do not enter its averages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irrev.errors import InputError


@dataclass(frozen=True)
class Partition:
    """A named question: disjoint sets of class indices, at least two."""

    name: str
    sets: tuple[tuple[int, ...], ...]
    set_names: tuple[str, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """All classes that the question is about."""
        return tuple(c for members in self.sets for c in members)


def partition(name: str, sets: Mapping[str, Sequence[int]] | Sequence[Sequence[int]]) -> Partition:
    """Make a partition from named or bare class sets.

    Examples
    --------
    >>> partition("parity", {"even": [0, 2], "odd": [1, 3]}).classes
    (0, 2, 1, 3)
    """
    if isinstance(sets, Mapping):
        names, groups = tuple(sets), [tuple(v) for v in sets.values()]
    else:
        groups = [tuple(v) for v in sets]
        names = tuple("+".join(map(str, v)) for v in groups)
    flat = [c for members in groups for c in members]
    if len(groups) < 2 or not all(groups) or len(set(flat)) != len(flat):
        raise InputError(
            f"partition {name!r} has sets {groups}; give at least two, none empty, no class twice."
        )
    return Partition(name, tuple(groups), names)


def finest(classes: Sequence[int], *, name: str = "class") -> Partition:
    """Return the question which of the classes it is."""
    return partition(name, [[c] for c in classes])


def pairs(classes: Sequence[int]) -> list[Partition]:
    """Return one binary question for each pair of classes."""
    return [
        partition(f"{a}/{b}", [[a], [b]]) for i, a in enumerate(classes) for b in classes[i + 1 :]
    ]


def hierarchy(tree: Mapping[str, object], *, name: str = "root") -> list[Partition]:
    """Turn a tree of names into one question a node.

    Parameters
    ----------
    tree
        Name -> subtree, or name -> sequence of class indices at the leaves.
    name
        Name of the top node.

    Returns
    -------
        Partitions, top first; each asks which child of the node it is.

    Examples
    --------
    >>> [p.name for p in hierarchy({"round": {"zero": [0], "six": [6]}, "straight": [1, 7]})]
    ['root', 'round']
    """
    out = [partition(name, {child: _leaves(sub) for child, sub in tree.items()})]
    for child, sub in tree.items():
        if isinstance(sub, Mapping):
            out += hierarchy(sub, name=str(child))
    return out


def _leaves(node: object) -> list[int]:
    if isinstance(node, Mapping):
        return [c for sub in node.values() for c in _leaves(sub)]
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [int(c) for c in node]
    raise InputError(f"hierarchy has {node!r} at a leaf; use a list of class indices.")


@dataclass(frozen=True)
class Decision:
    """Posterior of one partition on a batch of states."""

    probability: Tensor  # (sample, set)
    log_probability: Tensor  # (sample, set)
    class_log_probability: Tensor  # (sample, class of the partition), within the partition
    within: Tensor  # (sample,) entropy of the class once the set is known

    @property
    def entropy(self) -> Tensor:
        """Entropy of the posterior, shape (sample,)."""
        return _entropy(self.log_probability)


def decide(logits: Tensor, question: Partition, columns: Mapping[int, int]) -> Decision:
    """Return the posterior of a partition.

    Parameters
    ----------
    logits
        ln pi_c + L_c, shape (sample, condition).
    question
        The partition.
    columns
        Class index -> column of `logits`.
    """
    index = torch.tensor([columns[c] for c in question.classes], device=logits.device)
    return decide_within(torch.log_softmax(logits[:, index], dim=1), question)


def decide_within(class_log_p: Tensor, question: Partition) -> Decision:
    """Return the posterior of a partition from that of its classes.

    Parameters
    ----------
    class_log_p
        ln p of each class given that it is one of the question's, shape (sample, class).
    question
        The partition.
    """
    sizes = [len(members) for members in question.sets]
    if max(sizes) == 1:  # nothing to add up, and nothing left to ask within a set
        log_p, within = class_log_p, torch.zeros_like(class_log_p)
    else:
        parts = torch.split(class_log_p, sizes, dim=1)
        log_p = torch.stack([torch.logsumexp(part, dim=1) for part in parts], dim=1)
        within = torch.stack([_entropy(torch.log_softmax(part, dim=1)) for part in parts], dim=1)
    probability = log_p.exp()
    return Decision(probability, log_p, class_log_p, (probability * within).sum(1))


def membership(question: Partition) -> Tensor:
    """Return which set each class of the partition is in, shape (set, class), bool."""
    sizes = [len(members) for members in question.sets]
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return owner == torch.arange(len(sizes))[:, None]


def _entropy(log_p: Tensor) -> Tensor:
    """-sum p ln p with 0 ln 0 = 0."""
    return -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1)


def true_sets(labels: Tensor, question: Partition) -> Tensor:
    """Return the set of each label, -1 outside the partition; shape (sample,)."""
    out = torch.full_like(labels, -1)
    for z, members in enumerate(question.sets):
        hit = torch.isin(labels, torch.tensor(members, device=labels.device))
        out = torch.where(hit, z, out)
    return out


def prior_entropy(prior: np.ndarray, question: Partition) -> float:
    """Return the entropy of a partition before anything is seen, nats.

    Parameters
    ----------
    prior
        Probability of each class, indexed by class.
    """
    mass = np.array([sum(prior[c] for c in members) for members in question.sets])
    p = mass / mass.sum()
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())
