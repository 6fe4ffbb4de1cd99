import subprocess
import sys
from math import nan, sqrt
from struct import pack

import pytest

from llmatic.services.similarity import cosines


def rows(*vectors: tuple[float, ...]) -> bytes:
    return b"".join(pack(f"<{len(vector)}f", *vector) for vector in vectors)


def test_the_cosine_is_that_of_the_angle_whatever_the_lengths() -> None:
    found = cosines(rows((3.0, 0.0)), rows((5.0, 0.0), (1.0, 1.0), (0.0, 2.0), (-1.0, 0.0)))
    assert found == pytest.approx([1.0, 1 / sqrt(2), 0.0, -1.0])


def test_a_vector_without_length_is_like_nothing() -> None:
    assert cosines(rows((0.0, 0.0)), rows((1.0, 0.0))) == [0.0]
    assert cosines(rows((1.0, 0.0)), rows((0.0, 0.0), (2.0, 0.0))) == [0.0, 1.0]


def test_no_rows_have_no_cosines() -> None:
    assert cosines(rows((1.0, 0.0)), b"") == []


def test_lengths_that_a_float32_cannot_square_do_no_harm() -> None:
    assert cosines(rows((1e30, 0.0)), rows((1e30, 1e30), (1e-30, 0.0))) == pytest.approx([1 / sqrt(2), 1.0])


def test_what_is_not_a_number_stays_so() -> None:
    assert cosines(rows((1.0, 0.0)), rows((nan, 0.0))) == pytest.approx([nan], nan_ok=True)


def test_equal_rows_give_equal_numbers_wherever_they_stand() -> None:
    vector = tuple(((k * 37) % 101 - 50) / 97 for k in range(383))
    other = tuple(((k * 53) % 89 - 40) / 83 for k in range(383))
    assert len(set(cosines(rows(other), rows(*[vector] * 131)))) == 1


def test_importing_leaves_numpy_out() -> None:
    program = "import sys; import llmatic.services.ranking; print('numpy' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"
