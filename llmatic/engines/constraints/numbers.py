"""JSON numbers as regular expressions and as leaves of llguidance's own.

Every number is written so that it is finite and keeps its value in IEEE doubles: at most 19 digits before
the point, 17 behind it, and exponents that cannot overflow. Pure; any thread.
"""

from collections.abc import Mapping
from fractions import Fraction
from math import ceil, floor, inf, log10
from typing import Any

INTEGER = r"(?:0|-?[1-9][0-9]{0,18})"
_EXPONENT = r"[eE](?:-[0-9]{1,3}|\+?(?:[0-9]{1,2}|1[0-9]{2}|2[0-8][0-9]))"
_UNSIGNED = rf"(?:0|[1-9][0-9]{{0,18}})(?:\.[0-9]{{1,17}})?(?:{_EXPONENT})?"
NUMBER = f"-?{_UNSIGNED}"

# Beyond this a decimal fraction has no digits left behind the point.
_MAX_BOUND = 10**15
_LEAST = 1e-10
_MAX_INTEGER = 10**19 - 1
_MANTISSA = r"[1-9](?:\.[0-9]{1,14})?"


def integer_pattern(low: int | None, high: int | None) -> str | None:
    """A regular expression of the whole numbers from `low` to `high`; None if there are none."""
    if low is None and high is None:
        return INTEGER
    low = max(-_MAX_INTEGER, -_MAX_INTEGER if low is None else low)
    high = min(_MAX_INTEGER, _MAX_INTEGER if high is None else high)
    if low > high:
        return None
    parts = []
    if low < 0:
        negative = _between(max(1, -high), -low)
        parts.append(f"-(?:{'|'.join(negative)})")
    if high >= 0:
        parts += _between(max(0, low), high)
    return f"(?:{'|'.join(parts)})"


def _between(low: int, high: int) -> list[str]:
    """Alternatives that together match the numbers from `low` to `high`, 0 ≤ low ≤ high, digit by digit."""
    parts = []
    while low <= high:
        # The largest block of numbers that begins at `low` and shares its leading digits.
        size = 1
        while low % (size * 10) == 0 and low + size * 10 - 1 <= high and low >= size * 10:
            size *= 10
        n_free = len(str(size)) - 1
        head, last = divmod(low // size, 10)
        n_blocks = min(10 - last, (high - low + 1) // size)
        digit = str(last) if n_blocks == 1 else f"[{last}-{last + n_blocks - 1}]"
        parts.append((str(head) if head else "") + digit + (f"[0-9]{{{n_free}}}" if n_free else ""))
        low += n_blocks * size
    return parts


def limits(node: Mapping[str, Any]) -> tuple[float | int, bool, float | int, bool]:
    """Lower bound, whether it is excluded, upper bound, whether excluded; infinite if there is none."""
    low, high = node.get("minimum", -inf), node.get("maximum", inf)
    above, below = node.get("exclusiveMinimum", -inf), node.get("exclusiveMaximum", inf)
    return max(low, above), above >= low and above != -inf, min(high, below), below <= high and below != inf


def integer_limits(node: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The least and the greatest whole number that the bounds allow."""
    low, above, high, below = limits(node)
    least = None if low == -inf else (floor(low) + 1 if above else ceil(low))
    greatest = None if high == inf else (ceil(high) - 1 if below else floor(high))
    return least, greatest


def decimal_leaf(node: Mapping[str, Any]) -> dict[str, Any]:
    """A schema for llguidance of the decimal fractions within the bounds: no exponents, exact at bounds."""
    low, above, high, below = _written_limits(node)
    most = _greatest(node)
    low, above = (-most, False) if low < -most else (low, above)
    high, below = (most, False) if high > most else (high, below)
    excluded = [abs(bound) for bound, is_excluded in ((low, above), (high, below)) if is_excluded]
    n_digits = len(str(int(max(excluded, default=0))))
    # Closer to an excluded bound than this, the nearest double would be the bound itself.
    least = _fraction(14 - n_digits)
    # llguidance takes a whole bound for included if the other one is less than 1 away.
    if above and low == floor(low) == floor(high):
        low, above = low + least, False
    if below and high == ceil(high) == ceil(low):
        high, below = high - least, False
    return {
        "type": node["type"],
        "exclusiveMinimum" if above else "minimum": low,
        "exclusiveMaximum" if below else "maximum": high,
        "multipleOf": node.get("multipleOf", least),
    }


def _written_limits(node: Mapping[str, Any]) -> tuple[float | int, bool, float | int, bool]:
    """The limits without those that are closer to 0 than any decimal written here, apart from 0 itself."""
    low, above, high, below = limits(node)
    low, above = (0, low > 0) if 0 < abs(low) < _LEAST else (low, above)
    high, below = (0, high < 0) if 0 < abs(high) < _LEAST else (high, below)
    return low, above, high, below


def _greatest(node: Mapping[str, Any]) -> int:
    """So great may a decimal be that doubles hold all its digits."""
    decimals = Fraction(repr(node.get("multipleOf", 1)))
    n_decimals = 0
    while decimals.denominator != 1:
        decimals *= 10
        n_decimals += 1
    return max(1, _MAX_BOUND // int(10**n_decimals))


def _fraction(n_decimals: int) -> float:
    """A power of ten with at most so many decimals that llguidance can take apart."""
    return next((value for n in range(n_decimals, 1, -1) if _is_taken_apart(value := float(f"1e-{n}"))), 0.1)


def decimal_error(node: Mapping[str, Any]) -> str | None:
    """Why there is no such number as the bounds and `multipleOf` want, or none that llguidance can find."""
    low, above, high, below = _written_limits(node)
    if low > high or (low == high and (above or below)):
        return "the lower is above the upper"
    most = _greatest(node)
    if low >= most or high <= -most:
        return f"one is not below {most:.0e}"
    if "multipleOf" not in node:
        return None
    multiple = Fraction(repr(node["multipleOf"]))
    if multiple >= 2**32 or not _is_taken_apart(node["multipleOf"]):
        return "'multipleOf' has too many digits"
    least = Fraction(repr(max(low, -most))) / multiple
    greatest = Fraction(repr(min(high, most))) / multiple
    first = floor(least) + 1 if above else ceil(least)
    last = ceil(greatest) - 1 if below else floor(greatest)
    return None if first <= last else "no multiple lies between them"


def _is_taken_apart(value: float) -> bool:
    """Whether a decimal stays exact while llguidance moves its point to the right, and fits 32 bits then."""
    exact, moved = Fraction(repr(value)), float(value)
    while moved != floor(moved):
        moved *= 10.0
        exact *= 10
        if exact >= 2**32:
            return False
    return exact == floor(moved)


def scientific_patterns(node: Mapping[str, Any]) -> list[str]:
    """Regular expressions of numbers with an exponent that surely lie within the bounds."""
    low, above, high, _ = limits(node)
    if low == 0 and not above and high == inf:
        return [_UNSIGNED]
    found = []
    for sign, near, far in (("", low, high), ("-", -high, -low)):
        if near <= 0 < far:
            # The mantissa is below 10, so with this exponent the number is below `far`.
            least = max(1, 1 + ceil(-log10(far))) if far < inf else 1
            found += [f"{sign}{_MANTISSA}[eE]-{part}" for part in _exponents(least)]
        if far > 0:
            least = max(0, ceil(log10(near)) + 1) if near > 0 else 0
            most = 99 if far == inf else floor(log10(far)) - 1
            found += [rf"{sign}{_MANTISSA}[eE]\+?{part}" for part in _exponents(least, min(most, 99))]
    return found


def _exponents(least: int, most: int = 99) -> list[str]:
    return [f"0?(?:{'|'.join(_between(least, most))})"] if least <= most else []
