"""Build random generators: new ones, which then take a checked state through their public setter.

Source: `numpy/random/_pickle.py`, `bit_generator.pyx` and the `state` of each
generator in NumPy 2.4.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from vault.core.pickle_globals import BIT_GENERATORS, SEEDS
from vault.loaders.pickle_gate.native import check_array
from vault.loaders.pickle_gate.parts import Part, named, require

_WORDS: Final = 64
_BUFFERED: Final = frozenset({"bit_generator", "has_uint32", "state", "uinteger"})


class Seeded(Part):
    """What takes long to make: a random generator, or the seeds for one."""

    __slots__ = ()


class _Seeds(Seeded):
    __slots__ = ()

    def finish(self, state: Any) -> Any:
        """Make the sequence anew from its entropy; the pool follows from it."""
        import numpy as np

        require(type(state) is tuple and len(state) == 5, "a seed has a state of another kind")
        entropy, spawned, pool, size, key = state
        require(type(size) is int and 4 <= size <= _WORDS, "a seed has a pool of another size")
        require(_below(spawned, 32) and _are_numbers(key), "a seed has children that are no numbers")
        require(_is_large(entropy) or _are_numbers(entropy), "a seed has an entropy that is no number")
        found = np.random.SeedSequence(
            entropy, spawn_key=key, pool_size=size, n_children_spawned=int(spawned)
        )
        check_array(pool, "uint32", 1, "a seed's words")
        require(np.array_equal(found.pool, pool), "a seed has other words than its entropy gives")
        return found


def seeds(kind: Any, checksum: Any, state: Any) -> Part:
    """Start a `SeedSequence`, as Cython's function does."""
    require(named(kind) == SEEDS and state is None, "it makes a seed in a way that is not known")
    return _Seeds()


class _BitGenerator(Seeded):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def finish(self, state: Any) -> Any:
        """Make a generator with a fixed seed, and set its checked state and its seed sequence."""
        import numpy as np

        require(type(state) is tuple and len(state) == 2, "a random generator has a state of another kind")
        position, seed = state
        require(seed is None or type(seed) is np.random.SeedSequence, "a random generator has a strange seed")
        check_position(position, self.name)
        found = getattr(np.random, self.name)(0)
        found.__setstate__((position, seed))
        return found


def bit_generator(kind: Any) -> Part:
    """Start one of NumPy's bit generators, named by its class or by text."""
    name = BIT_GENERATORS.get(named(kind), kind)
    require(type(name) is str and name in _STATES, "it makes a random generator of an unknown kind")
    return _BitGenerator(name)


def generator(source: Any) -> Any:
    """Build a `Generator` over a finished bit generator."""
    import numpy as np

    require(isinstance(source, np.random.BitGenerator), "it has a random generator without a source")
    return np.random.Generator(source)


def random_state(source: Any) -> Any:
    """Build a `RandomState` over a finished bit generator; its state follows."""
    import numpy as np

    require(isinstance(source, np.random.BitGenerator), "it has a random generator without a source")
    return np.random.RandomState(source)


def set_random_state(target: Any, state: Any) -> None:
    """Give a `RandomState` its checked state."""
    require(type(state) is dict, "a random generator has a state of another kind")
    rest = dict(state)
    spare = rest.pop("has_gauss", 0), rest.pop("gauss", 0.0)
    require(_below(spare[0], 1) and type(spare[1]) is float, "a random generator has a strange spare number")
    name = type(target._bit_generator).__name__
    check_position(rest, name)
    target.set_state(state)


def check_position(state: Any, name: str) -> None:
    """Refuse a state that is not the one which a bit generator of that name gives.

    Raises:
        Unfit: another name, words of another size, or a position outside them.
    """
    require(
        type(state) is dict and state.get("bit_generator") == name and type(state.get("state")) is dict,
        "a random generator has a state of another kind",
    )
    _STATES[name](state)


def _mt19937(state: dict[str, Any]) -> None:
    inner = state["state"]
    require(
        state.keys() == {"bit_generator", "state"} and inner.keys() == {"key", "pos"},
        "a random generator has a state of another kind",
    )
    _check_words(inner["key"], "uint32", 624)
    require(
        type(inner["pos"]) is int and 0 <= inner["pos"] <= 624, "a random generator stands outside its state"
    )


def _pcg64(state: dict[str, Any]) -> None:
    inner = state["state"]
    require(inner.keys() == {"inc", "state"}, "a random generator has a state of another kind")
    require(
        _below(inner["state"], 128) and _below(inner["inc"], 128), "a random generator has a strange state"
    )
    _check_spare(state, _BUFFERED)


def _philox(state: dict[str, Any]) -> None:
    inner = state["state"]
    require(inner.keys() == {"counter", "key"}, "a random generator has a state of another kind")
    _check_words(inner["counter"], "uint64", 4)
    _check_words(inner["key"], "uint64", 2)
    _check_spare(state, _BUFFERED | {"buffer", "buffer_pos"})
    _check_words(state["buffer"], "uint64", 4)
    position = state["buffer_pos"]
    require(type(position) is int and 0 <= position <= 4, "a random generator stands outside its state")


def _sfc64(state: dict[str, Any]) -> None:
    inner = state["state"]
    require(inner.keys() == {"state"}, "a random generator has a state of another kind")
    _check_words(inner["state"], "uint64", 4)
    _check_spare(state, _BUFFERED)


_STATES: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "MT19937": _mt19937,
    "PCG64": _pcg64,
    "PCG64DXSM": _pcg64,
    "Philox": _philox,
    "SFC64": _sfc64,
}


def _check_spare(state: dict[str, Any], expected: frozenset[str]) -> None:
    require(state.keys() == expected, "a random generator has a state of another kind")
    require(
        _below(state["has_uint32"], 1) and _below(state["uinteger"], 32),
        "a random generator has a strange spare number",
    )


def _check_words(words: Any, dtype: str, count: int) -> None:
    check_array(words, dtype, 1, "a random generator's words")
    require(len(words) == count, "a random generator has another number of words")


def _below(number: Any, bits: int) -> bool:
    return type(number) is int and 0 <= number < 1 << bits


def _is_large(number: Any) -> bool:
    import numpy as np

    whole = isinstance(number, np.integer) or type(number) is int
    return whole and number >= 0 and int(number).bit_length() <= 32 * _WORDS


def _are_numbers(items: Any) -> bool:
    """Tell whether something is a short list, tuple or array of numbers."""
    found = items.tolist() if hasattr(items, "dtype") else items
    return type(found) in (list, tuple) and len(found) <= _WORDS and all(_below(item, 64) for item in found)
