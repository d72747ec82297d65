"""Made-up reviews with labels of every kind, for the tests of all rooms."""

import random
from collections.abc import Callable

_GOOD = ["很好", "干净", "满意", "推荐", "舒服", "热情", "方便", "喜欢", "不错", "安静"]
_BAD = ["很差", "脏乱", "失望", "后悔", "吵闹", "冷淡", "麻烦", "讨厌", "糟糕", "破旧"]
_OTHER = [
    "房间",
    "早餐",
    "前台",
    "位置",
    "酒店",
    "服务",
    "床",
    "电视",
    "空调",
    "停车",
    "价格",
    "这次",
    "我们",
    "晚上",
    "浴室",
]
_LABEL: dict[str, Callable[[float], str]] = {
    "single": lambda mood: "good" if mood > 0 else "bad",
    "multi": lambda mood: "|".join(
        ["said", *(["praise"] if mood > 0.3 else []), *(["blame"] if mood < 0.1 else [])]
    ),
    "regression": lambda mood: f"{3 + 2 * mood:.2f}",
}


def reviews(count: int, kind: str = "single", seed: int = 0) -> list[dict[str, str]]:
    """Return made-up reviews: most words of a good one are good, and their length varies widely."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        mood = chance.choice([-1, 1]) * chance.uniform(0.2, 1)
        words = []
        for _ in range(chance.randint(3, 24)):
            telling = _GOOD if chance.random() < 0.5 + 0.45 * mood else _BAD
            words.append(chance.choice(telling if chance.random() < 0.5 else _OTHER))
        rows.append({"text": "，".join(words), "label": _LABEL[kind](mood)})
    return rows
