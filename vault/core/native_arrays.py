"""Check sparse matrices and random generators: indices and positions that compiled code trusts.

Source: `scipy.sparse` 1.17, `numpy.random` of NumPy 2.4.
"""

from typing import Any, Final

from vault.core.native_checks import require, type_name

_MT19937_WORDS: Final = 624
_PHILOX_WORDS: Final = 4


def check_sparse(matrix: Any) -> None:
    """Check the indices of a sparse matrix against its shape.

    Raises:
        Damaged: an index that leads outside.
    """
    rows, columns = matrix.shape if len(matrix.shape) == 2 else (1, matrix.shape[0])
    if matrix.format in ("csr", "csc", "bsr"):
        outer, inner = (columns, rows) if matrix.format == "csc" else (rows, columns)
        if matrix.format == "bsr":
            outer, inner = outer // matrix.blocksize[0], inner // matrix.blocksize[1]
        pointers, indices = matrix.indptr, matrix.indices
        require(
            pointers.shape == (outer + 1,) and pointers[0] == 0, "a sparse matrix has rows that do not exist"
        )
        require((pointers[1:] >= pointers[:-1]).all(), "a sparse matrix has rows out of order")
        require(pointers[-1] <= min(len(indices), len(matrix.data)), "a sparse matrix has too few entries")
        require((indices >= 0).all() and (indices < inner).all(), "a sparse matrix has an entry outside it")
    elif matrix.format == "coo":
        require(len(matrix.row) == len(matrix.col) == len(matrix.data), "a sparse matrix has unequal parts")
        for indices, size in ((matrix.row, rows), (matrix.col, columns)):
            require(
                (indices >= 0).all() and (indices < size).all(), "a sparse matrix has an entry outside it"
            )
    elif matrix.format == "dia":
        require(
            matrix.data.ndim == 2 and len(matrix.offsets) == len(matrix.data),
            "a sparse matrix has unequal parts",
        )
    else:
        require(False, "a sparse matrix is of a kind that cannot be checked")


def check_random_state(state: Any) -> None:
    """Check the generator inside a `RandomState` or `Generator`.

    Raises:
        Damaged: see `check_bit_generator`.
    """
    kind = type(state)
    inner = state._bit_generator if type_name(kind).endswith("RandomState") else state.bit_generator
    check_bit_generator(inner)


def check_bit_generator(generator: Any) -> None:
    """Check the position of a generator in its buffer of random words.

    Raises:
        Damaged: it stands outside, or is of an unknown kind.
    """
    state = generator.state
    name = state["bit_generator"]
    if name == "MT19937":
        require(0 <= state["state"]["pos"] <= _MT19937_WORDS, "a random generator stands outside its state")
        require(state["state"]["key"].shape == (_MT19937_WORDS,), "a random generator has another state")
    elif name == "Philox":
        require(0 <= state["buffer_pos"] <= _PHILOX_WORDS, "a random generator stands outside its state")
    else:
        require(
            name in ("PCG64", "PCG64DXSM", "SFC64"), "a random generator is of a kind that cannot be checked"
        )
