import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irrev.semantic.sentences import MIN_CHARACTERS, lexical_support, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("   \n ", []),
        ("Short.", ["Short."]),
        (
            "The first one ends here! Does the second one? “Yes,” says the third of them.",
            ["The first one ends here!", "Does the second one?", "“Yes,” says the third of them."],
        ),
        ("It grew by 3.5 million. e.g. not here.", ["It grew by 3.5 million. e.g. not here."]),
        ("A long line without a stop\nOK.", ["A long line without a stop OK."]),
    ],
)
def test_split_sentences__breaks_where_stated(text, sentences):
    assert split_sentences(text) == sentences


def test_split_sentences__joins_a_table_of_one_number_a_line():
    table = "\n".join(str(n) for n in range(1000, 1100))
    # 20 characters need five numbers of four digits: 24 with their spaces.
    assert len(split_sentences(table)) == 20


@given(st.text(alphabet="ab. \n?A1", max_size=200))
def test_split_sentences__keeps_every_character_but_white_space(text):
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(len(s) >= MIN_CHARACTERS for s in sentences) or len(sentences) == 1


def test_lexical_support__counts_content_words_only():
    context = "The dam was built in 1931 by two firms."
    answers = ["It was built in 1931.", "It was built in 1932.", "It was.", ""]
    support = lexical_support([context] * 4, answers)
    assert support[:2].tolist() == [1.0, 0.5]
    assert np.isnan(support[2:]).all()
