"""Characters as units: each by itself, the rare ones as bytes, places to the character."""

from tael.data.tokenizer import train_tokenizer
from tael.recipe.schema import Tokenizer as Spec

TEXTS = ["北京是中国的首都", "北京很大", "a big city 🙂"] * 3


def test_each_character_is_a_unit_and_keeps_its_place() -> None:
    tokenizer = train_tokenizer(TEXTS, Spec(kind="character", vocab=1200))
    encoding = tokenizer.encode("北京 big🙂", add_special_tokens=False)
    assert encoding.tokens == ["北", "京", "b", "i", "g", "🙂"]
    assert encoding.offsets == [(0, 1), (1, 2), (3, 4), (4, 5), (5, 6), (6, 7)]


def test_a_character_never_seen_becomes_bytes_or_unknown() -> None:
    with_bytes = train_tokenizer(TEXTS, Spec(kind="character", vocab=1200))
    assert with_bytes.encode("龘", add_special_tokens=False).tokens == [
        f"<0x{byte:02X}>" for byte in "龘".encode()
    ]
    small = train_tokenizer(TEXTS, Spec(kind="character", vocab=100))
    assert small.encode("龘", add_special_tokens=False).tokens == ["[UNK]"]


def test_the_most_frequent_characters_come_first_and_fill_the_vocabulary() -> None:
    long = ["".join(map(chr, range(0x4E00, 0x4E00 + 300))) + "常" * 9]
    tokenizer = train_tokenizer(long, Spec(kind="character", vocab=100))
    assert tokenizer.get_vocab_size() == 100
    assert tokenizer.token_to_id("常") == 5
