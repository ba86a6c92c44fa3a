"""Text -> sentences, and the share of an answer's words that the context has.

Break at newlines, then after `.`, `!` or `?` followed by white space and a capital, digit or
quote, and after the full-width marks; join a piece under 20 characters to the next one, or a table
flattened to one number a line becomes hundreds of "sentences". The rule knows no abbreviations
("U.S. Steel" is cut): it is the same for question, context and answer, which is what the topic
frequencies need.

    support_lex = (content tokens of the answer that occur in the context) / (all of them)   (1)

A content token is a lower-cased run of letters and digits that is no stop word.

Design of this project; numbers depend on the splitter, so its name goes with every result.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SPLITTER = "newline-stop-join20"
MIN_CHARACTERS = 20  # shorter pieces are headings, table cells, initials

_BREAK = re.compile(r"""\n+|(?<=[.!?])\s+(?=["'“”‘’«\dA-ZÀ-ÖØ-ÞΑ-ΩА-Я])|(?<=[。！？])""")
_TOKEN = re.compile(r"\w+")
# Function words carry no support; kept short so that it stays readable.
_FUNCTION_WORDS = """
a about after all also an and any are as at be because been before being between both but by can
could did do does for from had has have he her his how i if in into is it its may me more most my
no nor not of off on one only or other our out over own s same she should so some such t than that
the their them then there these they this those through to too under up very was we were what when
where which while who whom why will with would yes you your
"""
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())


def split_sentences(text: str) -> list[str]:
    r"""Split a text into sentences.

    Parameters
    ----------
    text
        Any text; leading and trailing white space of pieces is dropped.

    Returns
    -------
        Sentences in order, none empty; an empty text has none.

    Examples
    --------
    >>> split_sentences("Revenue rose by a tenth. It was 3.5 billion dollars in all.")
    ['Revenue rose by a tenth.', 'It was 3.5 billion dollars in all.']
    >>> split_sentences("Revenue\n12\n13\n14\nincome from operations")
    ['Revenue 12 13 14 income from operations']
    """
    sentences: list[str] = []
    pending = ""
    for piece in filter(None, (p.strip() for p in _BREAK.split(text))):
        pending = f"{pending} {piece}" if pending else piece
        if len(pending) >= MIN_CHARACTERS:
            sentences.append(pending)
            pending = ""
    if pending and sentences:
        sentences[-1] = f"{sentences[-1]} {pending}"
    elif pending:
        sentences.append(pending)
    return sentences


def lexical_support(contexts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
    """Share of each answer's content tokens that occur in its context, eq. (1).

    Parameters
    ----------
    contexts, answers
        Texts, one pair each.

    Returns
    -------
        Shares in [0, 1], shape (triplet,); NaN where an answer has no content token.

    Examples
    --------
    >>> lexical_support(["Sales were 12 in May."], ["The sales were 13."])
    array([0.5])
    """
    shares = []
    for context, answer in zip(contexts, answers, strict=True):
        known = set(_TOKEN.findall(context.lower()))
        tokens = [t for t in _TOKEN.findall(answer.lower()) if t not in STOP_WORDS]
        shares.append(np.mean([t in known for t in tokens]) if tokens else np.nan)
    return np.array(shares, dtype=np.float64)


def count_words(texts: Sequence[str]) -> NDArray[np.int64]:
    """Words of each text, split at white space, shape (text,)."""
    return np.array([len(t.split()) for t in texts], dtype=np.int64)
