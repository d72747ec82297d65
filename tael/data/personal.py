"""Personal data in texts: found by form and, where there is one, by check digit; masked by kind.

    [EMAIL]  name@host.domain            [IBAN]  its country's length, remainder 1 by 97 (ISO 13616)
    [ID]     Chinese identity card, date and check character of GB 11643
    [CARD]   13 to 19 digits of a known issuer, checked by Luhn (ISO/IEC 7812)
    [PHONE]  Chinese mobile and landline, +country (E.164), ten North American digits in groups
    [IP]     an IPv4 address

A number without a check digit can only be known by its form: an order number that is written like a
telephone number is masked too. Names and addresses are not looked for. Full-width digits and
letters are read like their plain forms.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date

__all__ = ["KINDS", "find", "mask"]

_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # one character for one
_PLAIN[0x3000] = 0x20
_HINT = re.compile(r"[0-9@]")

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z])"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}")
_ID = re.compile(
    r"(?<![0-9A-Za-z])[1-9][0-9]{5}[ -]?((?:18|19|20)[0-9]{6})[ -]?[0-9]{3}[0-9Xx](?![0-9A-Za-z])"
)
_CARD = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9][ .-])"
    r"(?:[2-6][0-9]{12,18}|[2-6][0-9]{3,5}(?:[ -][0-9]{3,13}){1,4})(?![0-9A-Za-z])"
)
_PHONE = re.compile(
    r"(?<![0-9])(?<![0-9][.-])(?:"
    # Chinese mobile, landline with its area code, and an extension.
    r"(?:(?:\+|00)?86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}"
    r"|(?:(?:\+|00)86[ -]?)?(?:\(0(?:10|2[0-9]|[3-9][0-9]{2})\) ?|0(?:10|2[0-9]|[3-9][0-9]{2})"
    r"[ -]?)[2-8][0-9]{6,7}(?:(?:-|转| ?ext\.? ?)[0-9]{1,6})?"
    # International. Looked ahead and taken whole: an atomic group in all but name, since Python
    # before 3.11.5 takes too much with `{0,6}+` (https://github.com/python/cpython/issues/106052).
    r"|(?=(?P<abroad>\+[1-9][0-9]*(?:[ .-]?(?:\([0-9]+\)|[0-9]+)){0,6}))(?P=abroad)"
    # 400 and 800 numbers are a company's.
    r"|(?:1[ .-])?(?:\((?![48]00)[2-9][0-9]{2}\) ?|(?![48]00)[2-9][0-9]{2}[ .-])"
    r"[2-9][0-9]{2}[ .-][0-9]{4}"
    r")(?![0-9]|[.-][0-9])"
)
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IP = re.compile(rf"(?<![0-9A-Za-z])(?<![0-9]\.)(?:{_BYTE}\.){{3}}{_BYTE}(?![0-9]|\.[0-9])")

# Of the IBAN, by country: the SWIFT registry.
_LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28
    EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26
    IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30
    NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TN24
    TR26 UA29 VA22 VG24 XK20
"""
_IBAN_LENGTH = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}

Check = Callable[[re.Match[str]], int]  # the length of what was found, 0 where it is something else


def mask(text: str, counts: Counter[str] | None = None) -> str:
    """Return `text` with each piece of personal data replaced by its kind in brackets.

    `counts` gets the number of pieces by kind.
    """
    while found := list(find(text)):  # what stood against a number may show once that is masked
        parts, at = [], 0
        for start, end, kind in found:
            parts += [text[at:start], f"[{kind}]"]
            at = end
            if counts is not None:
                counts[f"personal data masked: {kind}"] += 1
        text = "".join([*parts, text[at:]])
    return text


def find(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, kind) of each piece of personal data, in the order of the text."""
    plain = text if text.isascii() else text.translate(_PLAIN)
    if not _HINT.search(plain):
        return
    taken, used = list[tuple[int, int, str]](), bytearray(len(plain))
    for kind, (pattern, check) in KINDS.items():
        for match in pattern.finditer(plain):
            start, end = match.start(), match.start() + check(match)
            if end > start and not any(used[start:end]):
                taken.append((start, end, kind))
                used[start:end] = b"\1" * (end - start)
    yield from sorted(taken)


def _whole(match: re.Match[str]) -> int:
    return len(match[0])


def _iban(match: re.Match[str]) -> int:
    """Take as many letters as the country's numbers have; words that follow are not part of it."""
    length = _IBAN_LENGTH.get(match[0][:2], 0)
    places = [at for at, sign in enumerate(match[0]) if sign != " "]
    if not length or len(places) < length:
        return 0
    end = places[length - 1] + 1
    if match[0][end : end + 1].strip():
        return 0  # the word goes on
    compact = match[0][:end].replace(" ", "")
    digits = "".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])
    return end if int(digits) % 97 == 1 else 0


def _identity(match: re.Match[str]) -> int:
    born, digits = match[1], match[0].replace(" ", "").replace("-", "")
    try:
        date(int(born[:4]), int(born[4:6]), int(born[6:]))
    except ValueError:
        return 0
    total = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(digits[:17]))
    return len(match[0]) if "10X98765432"[total % 11] == digits[17].upper() else 0


def _card(match: re.Match[str]) -> int:
    digits = match[0].replace(" ", "").replace("-", "")
    if len(digits) not in _issued(digits):
        return 0
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return len(match[0]) if sum(n // 10 + n % 10 for n in doubled) % 10 == 0 else 0


def _issued(digits: str) -> tuple[int, ...]:
    """Return the lengths that the issuer's cards have; none for an unknown issuer."""
    if digits[0] == "4":
        return 13, 16, 19
    if "51" <= digits[:2] <= "55" or "2221" <= digits[:4] <= "2720":
        return (16,)
    if digits[:2] in ("34", "37"):
        return (15,)
    if digits[:2] in ("30", "36", "38", "39"):
        return (14,)
    if digits[:2] == "35" or digits[0] == "6":
        return 16, 17, 18, 19
    return ()


def _phone(match: re.Match[str]) -> int:
    digits = sum(sign.isdigit() for sign in match[0])
    return len(match[0]) if not match[0].startswith("+") or 8 <= digits <= 15 else 0


# The first kind that claims a piece has it: those with a check digit before those without.
KINDS: dict[str, tuple[re.Pattern[str], Check]] = {
    "EMAIL": (_EMAIL, _whole),
    "IBAN": (_IBAN, _iban),
    "ID": (_ID, _identity),
    "CARD": (_CARD, _card),
    "PHONE": (_PHONE, _phone),
    "IP": (_IP, _whole),
}
