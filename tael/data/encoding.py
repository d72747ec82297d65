"""Which encoding a text file is in: found from its first bytes, not guessed where in doubt.

UTF-8 proves itself: a wrong byte is an error. GB18030 does not: it decodes most two-byte text of
East Asia without an error, so what comes out must also look like Chinese. Single-byte encodings
(latin-1 and its kin) decode everything and are therefore only used when the user names them.
"""

import codecs
import re
from typing import BinaryIO

from tael.errors import DataError

__all__ = ["HEAD", "detect", "locate"]

HEAD = 1 << 20  # bytes looked at

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the BOM of UTF-16: must stand before it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# About two fifths of running Chinese is made of these; mis-read Korean or Big5 hardly has them.
_COMMON = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年"
    "过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心"
    "很买书房间酒店服务错东西机快质量价格感觉真点非常差比较给"
)
_HAN = re.compile("[\u3400-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")


def detect(head: bytes, name: str) -> str:
    """Return the codec of a file that begins with `head` (at most `HEAD` bytes of it).

    Raises DataError with the byte offset of the first byte that is not UTF-8, and the key to set,
    when the bytes are neither Unicode nor GB18030 that reads as Chinese.
    """
    for bom, codec in _BOMS:
        if head.startswith(bom):
            return codec
    wide = _utf16_without_bom(head)
    if wide:
        return wide
    wrong = _first_error(head, "utf-8")
    if wrong is None:
        return "utf-8"
    if _first_error(head, "gb18030") is None and _reads_as_chinese(head):
        return "gb18030"
    raise DataError(
        f"{name}: byte {wrong} (line {head[:wrong].count(10) + 1}) is not UTF-8, and the file does "
        "not read as GB18030. Say which encoding it is: data.encoding=latin-1 (or cp1252, big5); "
        "data.encoding=utf-8 data.on_error=skip puts U+FFFD in the place of such bytes."
    )


def locate(file: BinaryIO, codec: str) -> tuple[int, int]:
    """Return (byte offset, line) of the first byte that `codec` cannot decode; (-1, 0) if none."""
    decoder = codecs.getincrementaldecoder(codec)()
    offset, lines = 0, 1
    while True:
        piece = file.read(HEAD)
        pending = len(decoder.getstate()[0])
        try:
            lines += decoder.decode(piece, final=not piece).count("\n")
        except UnicodeDecodeError as error:
            before = codecs.decode(error.object[: error.start], codec, "ignore")
            return offset - pending + error.start, lines + before.count("\n")
        if not piece:
            return -1, 0
        offset += len(piece)


def _first_error(head: bytes, codec: str) -> int | None:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        decoder.decode(head, final=len(head) < HEAD)  # the head may end inside a character
    except UnicodeDecodeError as error:
        return error.start
    return None


def _utf16_without_bom(head: bytes) -> str | None:
    """Tell UTF-16 by its zero bytes: every second one of ASCII text (digits, commas, line ends)."""
    pairs = len(head) // 2
    high, low = head[0::2].count(0), head[1::2].count(0)
    if pairs < 4 or max(high, low) < 0.2 * pairs or min(high, low) > 0.01 * pairs:
        return None
    return "utf-16-le" if low > high else "utf-16-be"


def _reads_as_chinese(head: bytes) -> bool:
    """Judge the two-byte characters: GB2312's own plane, common characters, hardly any kana.

    Latin-1 accents followed by ASCII letters land outside GB2312's plane (second byte below 0xA1);
    Korean and Japanese land inside it, but not on the common characters, or on kana.
    """
    text = codecs.getincrementaldecoder("gb18030")().decode(head)
    wide = re.findall("[^\x00-\x7f]", text)
    han = _HAN.findall(text)
    plain = sum(len(code) == 2 and min(code) >= 0xA1 for code in map(_gb18030, wide))
    if not wide or plain < 0.9 * len(wide) or len(_KANA.findall(text)) > 0.1 * len(wide):
        return False
    if len(han) < 0.5 * len(wide):
        return False
    first_level = sum(0xB0 <= _gb18030(one)[0] <= 0xD7 for one in han)
    common = sum(one in _COMMON for one in han)
    return first_level >= 0.8 * len(han) and (len(han) < 200 or common >= 0.1 * len(han))


def _gb18030(character: str) -> bytes:
    return character.encode("gb18030")
