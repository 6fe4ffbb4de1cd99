import random
import re
from typing import Any

from llmatic.engines.constraints.leaves import leaf_error
from llmatic.engines.constraints.numbers import (
    NUMBER,
    decimal_error,
    decimal_leaf,
    integer_pattern,
    scientific_patterns,
)


def test_patterns_of_integers_hold_exactly_the_numbers_between() -> None:
    chance = random.Random(1)
    for _ in range(2000):
        low = chance.choice(
            [chance.randint(-60, 60), chance.randint(-(10**6), 10**6), chance.randint(-(10**18), 10**18)]
        )
        high = low + chance.choice([0, 1, 9, 10, 99, chance.randint(0, 10**5), chance.randint(0, 10**17)])
        pattern = re.compile(integer_pattern(low, high) or "")
        for number in (low - 1, low, high, high + 1, 0, (low + high) // 2, chance.randint(low, high), -low):
            assert bool(pattern.fullmatch(str(number))) == (low <= number <= high), (low, high, number)
        assert not pattern.fullmatch("-0")


def test_no_integers_between_is_told() -> None:
    assert integer_pattern(3, 2) is None


def test_free_numbers_are_finite_and_keep_their_value() -> None:
    for text in ("9" * 19 + ".9e289", "-" + "9" * 19 + "e+289", "1e-999", "0", "0.5"):
        assert re.fullmatch(NUMBER, text)
        assert abs(float(text)) < float("inf")
    for text in ("1e290", "1e1000", "9" * 20, "00", "1.", "0." + "1" * 18):
        assert not re.fullmatch(NUMBER, text)


def bounds(chance: random.Random) -> dict[str, Any]:
    node: dict[str, Any] = {"type": "number"}
    values = [
        0,
        1,
        -3,
        0.1,
        2.5,
        -0.001,
        1e6,
        1e14,
        123456.789,
        -1e12,
        0.30000000000000004,
        1e-7,
        5e-324,
        1e15,
        1e30,
    ]
    if chance.random() < 0.7:
        node[chance.choice(["minimum", "exclusiveMinimum"])] = chance.choice(values)
    if chance.random() < 0.7:
        node[chance.choice(["maximum", "exclusiveMaximum"])] = chance.choice(values)
    if chance.random() < 0.4:
        node["multipleOf"] = chance.choice(
            [1, 2, 0.5, 0.1, 0.01, 0.25, 7, 1e-3, 1e-7, 0.07, 4294967295, 2.54]
        )
    return node


def test_limits_that_are_let_through_can_be_compiled() -> None:
    chance = random.Random(2)
    nodes = [bounds(chance) for _ in range(250)]
    sound = [node for node in nodes if len(node) > 1 and decimal_error(node) is None]
    assert len(sound) > 100
    for node in sound:
        assert leaf_error(decimal_leaf(node)) is None, node


def test_numbers_with_an_exponent_lie_within_the_limits() -> None:
    chance = random.Random(3)
    for _ in range(3000):
        node = bounds(chance)
        if decimal_error(node) is not None:
            continue
        for pattern in scientific_patterns(node):
            for _ in range(5):
                sign = chance.choice(["", "-"])
                digits = "".join(chance.choices("0123456789", k=chance.randint(1, 14)))
                mantissa = chance.choice(["9.99999999999999", "1", f"{chance.randint(1, 9)}.{digits}"])
                text = f"{sign}{mantissa}e{chance.choice(['-', '+', ''])}{chance.randint(0, 99)}"
                if re.fullmatch(pattern, text):
                    value = float(text)
                    assert node.get("minimum", -1e400) <= value <= node.get("maximum", 1e400), (node, text)
                    assert node.get("exclusiveMinimum", -1e400) < value, (node, text)
                    assert value < node.get("exclusiveMaximum", 1e400), (node, text)
