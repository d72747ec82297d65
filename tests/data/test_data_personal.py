"""Personal data: what is found, what must not be, and how well on a planted set."""

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tael.data.personal import KINDS, find, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("写信到zhang.san+1@mail.example.com.cn谢谢", "写信到[EMAIL]谢谢"),
        ("a＠ｂ．ｃｎ", "[EMAIL]"),
        ("微信13800138000，", "微信[PHONE]，"),
        ("+86 138-0013-8000 / 008613800138000", "[PHONE] / [PHONE]"),
        ("电话：１３８００１３８０００", "电话：[PHONE]"),
        ("(010)62770001 021-6277 0571-88001234转8001", "[PHONE] 021-6277 [PHONE]"),
        ("call +44 20 7946 0958 or (415) 555-2671.", "call [PHONE] or [PHONE]."),
        ("身份证11010519491231002X。", "身份证[ID]。"),
        ("110105 19491231 002x", "[ID]"),
        ("card 4111 1111 1111 1111, 378282246310005", "card [CARD], [CARD]"),
        ("GB82 WEST 1234 5698 7654 32 PLEASE PAY", "[IBAN] PLEASE PAY"),
        ("from 192.168.0.1:8080", "from [IP]:8080"),
        ("a@b.cn192.168.0.1", "[EMAIL][IP]"),
    ],
)
def test_personal_data_becomes_its_kind(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "11010519491231002",  # a digit is missing
        "110105194912310021",  # the check character should be X
        "110105194902300024",  # no such day
        "4111 1111 1111 1112",  # Luhn
        "9111111111111111111",  # no issuer
        "GB82 WEST 1234 5698 7654 33",
        "GB82 WEST 1234 5698 7654 32X",
        "256.1.1.1 and 1.2.3 and 1.2.3.4.5",
        "v1.2.3.4",
        "@someone a@b @ c",
        "2012-12-12 12:30, 3.1415926535, 138 rooms, ￥12,800",
        "400-820-6666, 800-820-6666",
        "订单201211121234567890123",
        "12345678901",
        "Room 1380013800012",
        "+1 +2 +12 34",
        "",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert mask(text) == text


def test_pieces_are_counted_by_kind() -> None:
    counts: Counter[str] = Counter()
    mask("a@b.cn, c@d.cn, 13800138000, nothing", counts)
    assert counts == {"personal data masked: EMAIL": 2, "personal data masked: PHONE": 1}


@pytest.mark.parametrize("piece", ["1", "+1", "a@a.", "1.", "6222 ", "GB82 ", "13800138000"])
def test_no_text_is_slow(piece: str) -> None:
    start = time.process_time()
    mask((piece * 100_000)[:100_000])
    assert time.process_time() - start < 1


def digits(generator: random.Random, count: int) -> str:
    return "".join(generator.choices("0123456789", k=count))


def luhn(generator: random.Random) -> str:
    """A card number, with its check digit found by trying."""
    prefix, size = generator.choice([("4", 16), ("51", 16), ("62", 19), ("62", 16), ("37", 15)])
    body = prefix + digits(generator, size - len(prefix) - 1)
    for last in "0123456789":
        total = 0
        for place, digit in enumerate(reversed(body + last)):
            value = int(digit) * (2 if place % 2 else 1)
            total += value - 9 if value > 9 else value
        if total % 10 == 0:
            return body + last
    raise AssertionError("one of ten digits fits")


def identity(generator: random.Random) -> str:
    """An identity number by GB 11643's own table of weights."""
    year, month, day = generator.randint(1940, 2015), *generator.choice([(2, 28), (12, 31), (7, 4)])
    body = f"{generator.choice(['110105', '310104', '440305'])}{year}{month:02}{day:02}"
    body += digits(generator, 3)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
    return body + "10X98765432"[total % 11]


def iban(generator: random.Random) -> str:
    bank, account = "".join(generator.choices("ABCDEFGH", k=4)), digits(generator, 14)
    spelled = "".join(str(int(letter, 36)) for letter in f"{bank}{account}GB00")
    return f"GB{98 - int(spelled) % 97:02}{bank}{account}"


def phone(generator: random.Random) -> str:
    mobile, local = f"1{generator.choice('3578')}{digits(generator, 9)}", digits(generator, 7)
    forms = (
        mobile,
        f"+86 {mobile}",
        f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
        f"010-6{local}",
        f"0571-8{local}",
        f"+44 20 {digits(generator, 4)} {digits(generator, 4)}",
        f"+49 {generator.randint(30, 89)} {digits(generator, 7)}",
        f"(415) 5{local[:2]}-{local[2:6]}",
    )
    return generator.choice(forms)


def email(generator: random.Random) -> str:
    name = "".join(generator.choices("abcxyz._", k=6)).strip(".") or "x"
    return f"{name}1@{generator.choice(['qq.com', 'mail.example.org', '163.com', 'a-b.co.uk'])}"


def address(generator: random.Random) -> str:
    return ".".join(str(generator.randint(0, 255)) for _ in range(4))


PLANTS: dict[str, Callable[[random.Random], str]] = {
    "EMAIL": email,
    "IBAN": iban,
    "ID": identity,
    "CARD": luhn,
    "PHONE": phone,
    "IP": address,
}
AROUND = [
    "联系{}谢谢",
    "写给 {}，等回复",
    "please use {} today",
    "({})",
    "{}",
    "号码：{}。房间 305",
]


def decoy(generator: random.Random) -> str:
    """What a review says with digits that is nobody's number."""
    forms = (
        f"订单号{generator.choice('789')}{digits(generator, 20)}",
        f"2024-0{generator.randint(1, 9)}-1{digits(generator, 1)} 12:30:{digits(generator, 2)}",
        f"￥{digits(generator, 4)}.{digits(generator, 2)}",
        f"v1.{digits(generator, 1)}.3.4",
        f"型号 X{digits(generator, 5)}-{digits(generator, 3)}",
        f"{digits(generator, 5)} rooms, {digits(generator, 2)}%",
        f"400-{digits(generator, 3)}-{digits(generator, 4)}",
        identity(generator)[:-1],
        f"4{digits(generator, 14)}",
    )
    return generator.choice(forms)


def test_recall_and_precision_on_planted_pieces_by_kind() -> None:
    generator = random.Random(7)
    right: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    for kind in KINDS:
        for _ in range(300):
            piece = PLANTS[kind](generator)
            text = generator.choice(AROUND).format(piece)
            found = [(text[start:end], name) for start, end, name in find(text)]
            claimed.update(name for _, name in found)
            right[kind] += (piece, kind) in found
    false = sum(bool(list(find(decoy(generator)))) for _ in range(3000))
    for kind in KINDS:
        assert right[kind] >= 0.99 * 300, kind
        assert right[kind] >= 0.99 * claimed[kind], kind
    assert false <= 0.02 * 3000
