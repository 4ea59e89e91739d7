"""Change bytes of a file at random places, the same ones in every run, and see what a reader makes of it."""

from collections.abc import Callable
from random import Random

from vault.errors import FormatRefused


def outcomes(
    read: Callable[[bytes], object],
    data: bytes,
    *,
    rounds: int,
    most: int,
    value: Callable[[Random], int],
    seed: int,
    reach: int | None = None,
) -> set[str]:
    """Change up to `most` bytes of the first `reach` in each round; tell `read`, `refused`, or both.

    Whatever else the reader raises ends the test.
    """
    rng = Random(seed)
    found = set()
    for _ in range(rounds):
        changed = bytearray(data)
        for _ in range(rng.randint(1, most)):
            changed[rng.randrange(reach or len(data))] = value(rng)
        try:
            read(bytes(changed))
            found.add("read")
        except FormatRefused:
            found.add("refused")
    return found
