"""How alike vectors are.

Owns the arithmetic on rows of float32 as engines send them. numpy is imported when first needed, which takes
a tenth of a second: call from a thread, not from the event loop. Pure; any thread.
"""

FLOAT_BYTES = 4


def cosines(query: bytes, rows: bytes) -> list[float]:
    """The cosine of the angle between `query` and each of `rows`, -1 to 1; 0 where a vector has no length.

    `query`: float32, little-endian, shape [n]; `rows`: likewise, shape [m, n], row after row.
    """
    import numpy as np

    assert query, "vectors have components"
    assert len(rows) % len(query) == 0, "the vectors come from one model"
    vector = np.frombuffer(query, "<f4").astype(np.float64)
    matrix = np.frombuffer(rows, "<f4").reshape(-1, len(query) // FLOAT_BYTES)
    # einsum adds up every row in the same order, so equal rows give equal numbers; BLAS need not.
    dots = np.einsum("ij,j->i", matrix, vector, dtype=np.float64)
    squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64) * (vector @ vector)
    found = np.divide(dots, np.sqrt(squares), out=np.zeros_like(dots), where=squares != 0.0)
    values: list[float] = np.clip(found, -1.0, 1.0).tolist()
    return values
