"""The enforcing host: decides each effect of a pickle, by tables of names with code of our own behind them.

A name is resolved only if it was pinned and allowed. What it resolves to is a
plain Python class or a function, which the gate never calls, or a stand-in for
one of the builders below: no callable of an imported module is called because
a pickle says so.
"""

import importlib
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core import limits, pins
from vault.core import pickle_globals as names
from vault.core.skops_types import NUMPY_SCALARS
from vault.errors import PickleRefused
from vault.loaders.pickle_gate import arrays, generators, native, plain
from vault.loaders.pickle_gate.instances import Instances, is_known_function
from vault.loaders.pickle_gate.parts import Part, StandIn, Unfit

HINT: Final = "Save the model as skops or ONNX instead."


def _each(found: AbstractSet[str] | Mapping[str, object], build: Callable[..., object]) -> dict[str, Any]:
    return dict.fromkeys(found, build)


# What REDUCE may call, by name: each builder checks its own arguments.
CALLS: Final[Mapping[str, Callable[..., object]]] = {
    **{name: plain.call(name) for name in names.PLAIN_CALLS},
    **_each(names.RECONSTRUCT, arrays.reconstruct),
    **_each(names.FROM_BUFFER, arrays.from_buffer),
    **_each(names.SCALAR, arrays.scalar),
    **_each(set(names.SEARCH_TREES.values()), native.search_tree),
    names.BIT_GENERATOR_MAKER: generators.bit_generator,
    names.DEFAULTING: plain.defaulting,
    names.DTYPE: arrays.dtype,
    names.GENERATOR_MAKER: generators.generator,
    names.MASKED_RECONSTRUCT: arrays.masked_reconstruct,
    names.METRIC_MAKER: native.metric,
    names.ORDERED: plain.ordered,
    names.RANDOM_STATE_MAKER: generators.random_state,
    names.SEED_MAKER: generators.seeds,
    names.TREE: native.tree,
    "datetime.date": plain.date,
    "datetime.datetime": plain.moment,
    "datetime.time": plain.time,
    "datetime.timedelta": plain.span,
    "datetime.timezone": plain.zone,
}
# The same, for builders that serve several names and are told which.
NAMED_CALLS: Final[Mapping[str, Callable[..., object]]] = {
    **_each(names.LOSSES, native.loss),
    **_each(names.LOSS_MAKERS, native.restored_loss),
}


@dataclass(slots=True)
class Gate:
    """The host of one load."""

    usable: AbstractSet[str]
    joblib: bool
    subject: str
    _stand_ins: dict[str, StandIn] = field(default_factory=dict)
    _instances: Instances = field(default_factory=Instances)
    _generators: int = 0

    def find(self, module: str, name: str) -> object:
        """Resolve a pinned and allowed global, without dotted names."""
        full = f"{module}.{name}"
        check_name(full, self.usable, self.subject)
        if not name.isidentifier():
            raise self._refused(f"{full} is not one plain name")
        if full in names.STAND_INS:
            return self._stand_ins.setdefault(full, StandIn(full))
        try:
            found = vars(importlib.import_module(module))[name]
        except (ImportError, KeyError):
            raise self._refused(f"{full} does not exist here") from None
        own_name = f"{getattr(found, '__module__', None) or module}.{getattr(found, '__name__', None)}"
        known = isinstance(found, type) or is_known_function(found)
        if not known or (own_name != full and full not in NUMPY_SCALARS):
            raise self._refused(f"{full} is neither a class nor a function of that module")
        return found

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        """Build a value by the builder that stands for a name; call nothing else."""
        if not isinstance(function, StandIn):
            raise self._unchecked("calls", function)
        try:
            if function.name in NAMED_CALLS:
                return NAMED_CALLS[function.name](function, *arguments)
            if function.name in CALLS:
                return CALLS[function.name](*arguments)
        except Unfit as finding:
            raise self._refused(str(finding)) from None
        raise self._unchecked("calls", function)

    def new(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        """Make an instance of a class that is plain Python, without its constructor."""
        if keywords or (isinstance(kind, StandIn) and arguments):
            raise self._unchecked("makes", kind)
        if isinstance(kind, StandIn):
            if kind.name == pins.ARRAY_WRAPPER and self.joblib:
                return arrays.Wrapper()
            if kind.name == names.BUNCH:
                return self._bunch()
            raise self._unchecked("makes", kind)
        try:
            return self._instances.make_tuple(kind, arguments) if arguments else self._instances.make(kind)
        except Unfit as finding:
            raise self._refused(str(finding)) from None

    def build(self, target: Any, state: Any) -> object:
        """Finish a part, or set the attributes of an instance."""
        try:
            if isinstance(target, Part):
                self._generators += isinstance(target, generators.Seeded)
                if self._generators > limits.PICKLE_GENERATORS:
                    raise self._refused("it has too many random generators")
                return target.finish(state)
            kind = f"{type(target).__module__}.{type(target).__name__}"
            if kind == "numpy.random.mtrand.RandomState":
                generators.set_random_state(target, state)
            elif kind != names.BUNCH:  # whose own restoring ignores the state as well
                self._instances.set_attributes(target, state)
        except Unfit as finding:
            raise self._refused(str(finding)) from None
        return target

    def fill(self, target: Any, items: list[Any], how: str) -> None:
        """Fill the dicts of a known kind; exact lists, dicts and sets the machine fills itself."""
        kind = f"{type(target).__module__}.{type(target).__name__}"
        if how != "set items" or kind not in (names.ORDERED, names.DEFAULTING, names.BUNCH):
            raise self._refused(f"it fills a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if kind == names.BUNCH and isinstance(key, str) and key.startswith("__"):
                raise self._refused("it sets an attribute whose name is special")  # a Bunch's keys are that
            target[key] = value

    def _bunch(self) -> object:
        from sklearn.utils import Bunch

        return dict.__new__(Bunch)

    def _unchecked(self, verb: str, what: Any) -> PickleRefused:
        told = what.name if isinstance(what, StandIn) else getattr(what, "__name__", what)
        return self._refused(f"it {verb} {told}, whose state cannot be checked")

    def _refused(self, what: str) -> PickleRefused:
        return PickleRefused(
            f"{self.subject or 'The pickle'} was not loaded: {what}.", subject=self.subject, hint=HINT
        )


def check_name(name: str, usable: AbstractSet[str], subject: str) -> None:
    """Refuse a name that may never be used, or was not both pinned and allowed.

    Raises:
        PickleRefused: it is one.
    """
    forbidden = pins.is_forbidden(name)
    if forbidden or name not in usable:
        raise PickleRefused(
            f"{subject or 'The pickle'} names {name[:200]}, which is "
            f"{'never loaded' if forbidden else 'not both pinned and allowed'}.",
            subject=subject,
            hint=HINT,
        )
