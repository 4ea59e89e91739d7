"""Walk a Keras archive (`.keras`) before any Keras code runs: its zip layout, configuration and weights.

The configuration is JSON that names classes by module and name, and Keras
imports what it names. Every object in it must be one of Keras's own
(`keras_names`), wherever it stands; no function is carried along, no text leads
to a file, and the archive holds what every reader of it agrees on.

Format: the three members that `keras.saving.save_model` of Keras 3 writes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from vault.core import hdf5_walk, keras_names, limits, zip_reader
from vault.errors import FormatRefused

CONFIG: Final = "config.json"
METADATA: Final = "metadata.json"
WEIGHTS: Final = "model.weights.h5"

_MODELS: Final = frozenset({"keras.Sequential", "keras.src.models.functional.Functional"})
# Values that Keras writes as objects without a module; each is rebuilt from numbers and text alone.
_VALUES: Final = frozenset(
    {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
)
_FIELDS: Final = frozenset(
    {
        "build_config",
        "class_name",
        "compile_config",
        "config",
        "inbound_nodes",
        "module",
        "name",
        "registered_name",
        "shared_object_id",
    }
)
# Layers that take a file's path in place of a list.
_LISTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "keras.layers.IntegerLookup": ("vocabulary", "idf_weights"),
        "keras.layers.StringLookup": ("vocabulary", "idf_weights"),
        "keras.layers.TextVectorization": ("vocabulary", "idf_weights"),
    }
)
# How texts that lead to files and servers begin; names of layers hold slashes, but none of these.
_PATH: Final = re.compile(
    r"[/~\\]|[A-Za-z]:[/\\]|[A-Za-z][A-Za-z0-9+.-]*://|(.*[/\\])?\.\.?([/\\]|$)", re.DOTALL
)
_CONFIG_BYTES: Final = 64 * limits.MIB
_NUMPY_TYPES: Final = re.compile(r"(b?float|u?int|complex)\d{1,3}|bool|string")


@dataclass(frozen=True, slots=True)
class KerasSummary:
    """What an archive declares: the classes of its model, and the version of Keras that wrote it."""

    classes: frozenset[str]
    keras: str
    datasets: int

    @property
    def pins(self) -> tuple[str, ...]:
        """The classes and functions, sorted: what is recorded at publishing and demanded at loading."""
        return tuple(sorted(self.classes))

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of Keras that wrote it."""
        return MappingProxyType({"keras": self.keras} if self.keras else {})

    @property
    def dangers(self) -> tuple[str, ...]:
        """What it can do beyond computing: nothing that passes the walk can."""
        return ()


def walk(data: bytes | memoryview, *, subject: str = "") -> KerasSummary:
    """Walk a whole archive and return what it declares.

    Raises:
        Malformed: `malformed-archive`, the zip layout.
        FormatRefused: `format-content`: another member, a class or function that is not Keras's own, a
            Lambda layer, text that leads to a file, or weights that lie elsewhere.
    """
    archive = zip_reader.open_archive(data)
    names = archive.entries.keys()
    if any(name.startswith("assets/") for name in names):
        raise _refused(
            "keeps files of its own (assets), which Keras unpacks to disk",
            subject,
            "Save it as a SavedModel: format='savedmodel'; or give its layers their vocabularies as lists.",
        )
    if names != {CONFIG, METADATA, WEIGHTS}:
        raise _refused("does not consist of configuration, metadata and weights", subject)
    walker = _Walker(subject)
    walker.configuration(_parse(bytes(archive.read(CONFIG, limit=_CONFIG_BYTES)), subject))
    about = _parse(bytes(archive.read(METADATA, limit=limits.KIB)), subject)
    version = about.get("keras_version")
    weights = hdf5_walk.walk(archive.read(WEIGHTS, limit=limits.LOAD_BYTES), subject=subject)
    return KerasSummary(
        frozenset(walker.classes), version if isinstance(version, str) else "", len(weights.datasets)
    )


def _refused(what: str, subject: str, hint: str = "") -> FormatRefused:
    return FormatRefused(
        f"{subject or 'The Keras archive'} {what}.", code="format-content", subject=subject, hint=hint
    )


def _parse(data: bytes, subject: str) -> dict[str, object]:
    """Parse one JSON object, in which no key occurs twice."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _refused("has a configuration that is not plain JSON", subject)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a number is too long")
    return int(digits)


@dataclass(slots=True)
class _Walker:
    """Visits every value of a configuration."""

    subject: str
    classes: set[str] = field(default_factory=set)
    vocabularies: set[int] = field(default_factory=set)

    def configuration(self, top: dict[str, object]) -> None:
        """Visit a configuration, whose top is an object that Keras builds."""
        if f"{top.get('module')}.{top.get('class_name')}" not in _MODELS:
            raise self._bad(
                "is no model made of layers alone",
                "Subclasses of Model are code of their own: save as ONNX or a SavedModel.",
            )
        pending: list[tuple[object, int]] = [(top, 0)]
        while pending:
            value, depth = pending.pop()
            if depth > limits.SCHEMA_DEPTH:
                raise self._bad("is nested too deeply")
            if isinstance(value, dict):
                if "class_name" in value:
                    self._named(value)
                for key, inner in value.items():
                    self._text(key)
                    pending.append((inner, depth + 1))
            elif isinstance(value, list):
                if id(value) not in self.vocabularies:  # whose words may look like anything
                    pending.extend((inner, depth + 1) for inner in value)
            elif isinstance(value, str):
                self._text(value)

    def _named(self, value: dict[str, object]) -> None:
        """Check an object that Keras builds."""
        name, module = value["class_name"], value.get("module")
        if not isinstance(name, str) or not value.keys() <= _FIELDS or "config" not in value:
            raise self._bad("has an object that Keras does not write")
        if name in keras_names.REASONS or name == "__lambda__":
            raise self._bad(
                f"uses {name}: {keras_names.REASONS.get(name, 'it carries a Python function')}",
                "Replace the layer by one of Keras's own; or save as ONNX or a SavedModel.",
            )
        config = value["config"]
        if name in _VALUES:
            self._plain_value(name, module, config)
        elif name == "function":
            self._function(module, config, value.get("registered_name"))
        else:
            self._class(name, module, config, value.get("registered_name"))

    def _class(self, name: str, module: object, config: object, registered: object) -> None:
        """Check a layer, a model, an initializer and the like."""
        full = f"{module}.{name}"
        if not isinstance(module, str) or full not in keras_names.CLASSES:
            raise self._bad(
                f"names {str(module)[:80]}.{name[:80]}, which is not one of Keras's own classes",
                "Custom classes are not loaded: save as ONNX or a SavedModel.",
            )
        if registered not in (None, name):
            raise self._bad(f"calls {full} by the name of a class that a program registered")
        if not isinstance(config, dict):
            raise self._bad(f"has a {full} without a configuration")
        self.classes.add(full)
        for key in _LISTS.get(full, ()):
            self._vocabulary(full, key, config.get(key))

    def _plain_value(self, name: str, module: object, config: object) -> None:
        """Check a tensor, a slice or the like."""
        if module not in (None, "builtins") or not (isinstance(config, dict) or config is None):
            raise self._bad(f"has a {name} that Keras does not write")
        kind = (config or {}).get("dtype")
        if kind is not None and not (isinstance(kind, str) and _NUMPY_TYPES.fullmatch(kind)):
            raise self._bad(f"has a {name} of a type that is neither number nor text")

    def _function(self, module: object, config: object, registered: object) -> None:
        """Check the name of an activation, a loss or a metric."""
        own = isinstance(config, str) and config in keras_names.FUNCTIONS
        if not own or module != "builtins" or registered not in (None, "function", config):
            raise self._bad(
                f"names the function {str(module)[:80]}.{str(config)[:80]}, which is not one of Keras's own",
                "Custom functions are not loaded: save as ONNX or a SavedModel.",
            )
        self.classes.add(f"keras.function.{config}")

    def _vocabulary(self, layer: str, key: str, value: object) -> None:
        """Check a list of words or weights: Keras would open a text as a file."""
        if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            self.vocabularies.add(id(value))
        elif value is not None:
            raise self._bad(
                f"has a {layer} whose {key} is not a list: a text there is a file that Keras opens",
                "Give the layer its vocabulary as a list.",
            )

    def _text(self, text: str) -> None:
        if _PATH.match(text):
            raise self._bad(
                f"holds {text[:80]!r}, which leads to a file or a server",
                "Save a model without paths; give layers their vocabularies as lists.",
            )

    def _bad(self, what: str, hint: str = "") -> FormatRefused:
        return _refused(what, self.subject, hint)
