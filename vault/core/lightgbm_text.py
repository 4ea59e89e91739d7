"""Check a LightGBM text model before LightGBM reads it: the grammar, and everything prediction indexes with.

Format: what LightGBM's `GBDT::SaveModelToString` and `Tree::ToString` write,
versions v3 and v4. LightGBM's reader looks for the characters `=` and newline
without an end, takes the sizes of trees on trust, and follows children,
features and category sets without looking whether they are in range.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import lightgbm_tree, limits, strict_json
from vault.core.lightgbm_tree import Tree
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed

SIGNATURE: Final = b"tree\nversion="
VERSIONS: Final = (b"v3", b"v4")
OBJECTIVES: Final = frozenset(
    {
        b"binary", b"cross_entropy", b"cross_entropy_lambda", b"custom", b"fair", b"gamma", b"huber",
        b"lambdarank", b"mape", b"multiclass", b"multiclassova", b"poisson", b"quantile", b"rank_xendcg",
        b"regression", b"regression_l1", b"tweedie",
    }
)  # fmt: skip
# Parameters that name files or machines; a loaded model takes them over for later training.
_EMPTY: Final = frozenset(
    {
        b"config", b"convert_model", b"data", b"forcedbins_filename", b"forcedsplits_filename",
        b"initscore_filename", b"input_model", b"machine_list_filename", b"machines", b"output_model",
        b"output_result", b"parser_config_file", b"position", b"valid",
    }
)  # fmt: skip
_HEADER: Final[Mapping[bytes, bool]] = {  # in this order; whether the line must be there
    b"version": True, b"num_class": True, b"num_tree_per_iteration": True, b"label_index": True,
    b"max_feature_idx": True, b"objective": False, b"average_output": False, b"feature_names": True,
    b"monotone_constraints": False, b"feature_infos": True, b"tree_sizes": True,
}  # fmt: skip
_NUMBER: Final = lightgbm_tree.NUMBER
_COUNT: Final = re.compile(rb"0|[1-9][0-9]{0,8}")
_COUNTS: Final = re.compile(rb"[1-9][0-9]{0,9}(?: [1-9][0-9]{0,9})*+")
_NAMES: Final = re.compile(rb'[^\x00-\x1f\x7f"\\,:\[\]{} ]+(?: [^\x00-\x1f\x7f"\\,:\[\]{} ]+)*+')
_INFO: Final = re.compile(rb"none|\[%b:%b\]|-?[0-9]{1,10}(?::-?[0-9]{1,10})*+" % (_NUMBER, _NUMBER))
_OBJECTIVE: Final = re.compile(rb"[a-z_0-9]+(?: (?:sqrt|[a-z_]{1,40}:%b))*+" % _NUMBER)
_SIGNS: Final = re.compile(rb"(?:-1|0|1)(?: (?:-1|0|1))*+")
# No colon and no quote in a value: LightGBM splits at the one, and puts values between the others.
_PARAMETER: Final = re.compile(rb"\[([a-z_0-9]{1,60}): ([-+A-Za-z0-9_.,()\[\]{} ]{0,100000})\]")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a model says of itself: version, objective (empty for a custom one), names of features, counts."""

    version: str
    objective: str
    features: tuple[str, ...]
    classes: int
    trees: int


def check(data: bytes | memoryview, *, subject: str = "") -> Summary:
    """Return what the model says of itself, after every line of it was found to be as LightGBM writes it.

    Raises:
        FormatRefused: `format-content`: an unknown section, field or version, a tree that is none,
            an index out of range, a parameter that names a file.
    """
    text = data if isinstance(data, bytes) else bytes(data)
    return _Model(text, subject).check()


class _Model:
    def __init__(self, text: bytes, subject: str) -> None:
        self._text = text
        self._at = 0
        self._subject = subject

    def check(self) -> Summary:
        if self._line() != b"tree":
            raise self._refused("it does not begin as a LightGBM model")
        header = self._header()
        if header[b"version"] not in VERSIONS:
            raise self._refused("its version is not v3 or v4")
        names = self._feature_names(header)
        classes = self._classes(header)
        sizes = self._sizes(header[b"tree_sizes"], classes)
        for index, size in enumerate(sizes):
            self._tree(index, size, len(names))
        if self._line() != b"end of trees" or self._line() != b"":
            raise self._refused("something else than trees is between its trees")
        self._importances(frozenset(names))
        self._closing()
        return Summary(
            header[b"version"].decode("ascii"),
            header.get(b"objective", b"").decode("ascii"),
            tuple(name.decode("utf-8") for name in names),
            classes,
            len(sizes),
        )

    # --- the header ---

    def _header(self) -> dict[bytes, bytes]:
        """Take the lines up to the first empty one, each at most once and in LightGBM's order."""
        found: dict[bytes, bytes] = {}
        left = iter(_HEADER)
        while line := self._line():
            key, equals, value = line.partition(b"=")
            if key not in left or bool(equals) == (key == b"average_output"):
                raise self._refused("its header has an unknown line, or one in the wrong place")
            found[key] = value
        if any(needed and key not in found for key, needed in _HEADER.items()):
            raise self._refused("its header is not complete")
        return found

    def _feature_names(self, header: Mapping[bytes, bytes]) -> list[bytes]:
        text = header[b"feature_names"]
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            raise self._refused("a name of a feature is not UTF-8") from None
        if self._count(header[b"max_feature_idx"], limits.BOOSTER_FEATURES - 1) != text.count(b" "):
            raise self._refused("it has another number of features than names")
        names = text.split(b" ")
        if not _NAMES.fullmatch(text) or len(set(names)) != len(names):
            raise self._refused("its features have no names, or not one each")
        infos = header[b"feature_infos"].split(b" ")
        if len(infos) != len(names) or not all(map(_INFO.fullmatch, infos)):
            raise self._refused("what it says about its features' values is malformed")
        signs = header.get(b"monotone_constraints")
        if signs is not None and (not _SIGNS.fullmatch(signs) or len(signs.split()) != len(names)):
            raise self._refused("its monotone constraints are malformed")
        return names

    def _classes(self, header: Mapping[bytes, bytes]) -> int:
        """Check the numbers of outputs, with which LightGBM computes the sizes of its buffers."""
        classes = self._count(header[b"num_class"], limits.BOOSTER_FEATURES)
        self._count(header[b"label_index"], limits.BOOSTER_FEATURES)
        if classes < 1 or self._count(header[b"num_tree_per_iteration"], limits.BOOSTER_FEATURES) != classes:
            raise self._refused("it has another number of classes than trees in an iteration")
        objective = header.get(b"objective")
        if objective is None:
            return classes
        name, *told = objective.split(b" ")
        if not _OBJECTIVE.fullmatch(objective) or name not in OBJECTIVES:
            raise self._refused("its objective is not one that is checked")
        numbers = [part.partition(b":")[2] for part in told if part.startswith(b"num_class:")]
        expected = [str(classes).encode("ascii")] if name in (b"multiclass", b"multiclassova") else []
        if numbers != expected or (classes > 1 and not expected and name != b"custom"):
            raise self._refused("its objective has another number of classes")
        return classes

    def _sizes(self, text: bytes, classes: int) -> list[int]:
        if not _COUNTS.fullmatch(text) or text.count(b" ") >= limits.BOOSTER_TREES:
            raise self._refused("it has no trees, or more than the limit")
        sizes = [int(size) for size in text.split(b" ")]
        if len(sizes) % classes:
            raise self._refused("its last iteration is not complete")
        return sizes

    # --- the trees and what follows them ---

    def _tree(self, index: int, size: int, features: int) -> None:
        start = self._at
        if self._line() != b"Tree=%d" % index:
            raise self._refused(f"tree {index} is not where it should be")
        fields: dict[bytes, bytes] = {}
        while line := self._line():
            key, equals, value = line.partition(b"=")
            if not equals or key in fields or len(fields) == lightgbm_tree.MOST_FIELDS:
                raise self._refused(f"tree {index} has a line that is malformed")
            fields[key] = value
        if self._line() != b"" or self._at - start != size:
            raise self._refused(f"tree {index} has another size than the header says")
        problem = Tree(fields, features).problem()
        if problem:
            raise self._refused(f"tree {index} {problem}")

    def _importances(self, names: frozenset[bytes]) -> None:
        if self._line() != b"feature_importances:":
            raise self._refused("its importances are missing")
        while line := self._line():
            name, _, value = line.rpartition(b"=")
            if name not in names or not _COUNT.fullmatch(value):
                raise self._refused("its importances are malformed")

    def _closing(self) -> None:
        """Check what follows: parameters, and the categories of pandas columns if Python wrote the file."""
        if self._line() != b"parameters:":
            raise self._refused("its parameters are missing")
        self._parameters()
        if self._at == len(self._text):
            return
        blank, (key, _, value) = self._line(), self._line().partition(b":")
        if blank or key != b"pandas_categorical" or self._at != len(self._text):
            raise self._refused("something unknown follows its parameters")
        self._categories(value)

    def _parameters(self) -> None:
        seen: set[bytes] = set()
        while line := self._line():
            match = _PARAMETER.fullmatch(line)
            if match is None or match[1] in seen or len(seen) == limits.BOOSTER_PARAMETERS:
                raise self._refused("a parameter is malformed, there twice, or one too many")
            seen.add(match[1])
            if match[1] in _EMPTY and match[2]:
                raise self._refused(f"its parameter {match[1].decode('ascii')} names a file or a machine")
        if self._line() != b"end of parameters":
            raise self._refused("its parameters have no end")

    def _categories(self, value: bytes) -> None:
        """Check the JSON that LightGBM's Python package keeps: null, or a list of lists of scalars."""
        if value.count(b",") > limits.JSON_ITEMS:
            raise self._refused("its columns have more categories than the limit")
        try:
            found = strict_json.parse(
                value, limit=limits.DATA_JSON_BYTES, canonical=False, floats=True, subject=self._subject
            )
        except Malformed:
            raise self._refused("the categories of its columns are no JSON") from None
        if found is not None and not _is_table(found):
            raise self._refused("the categories of its columns are no lists")

    # --- reading ---

    def _line(self) -> bytes:
        """Take a line without its newline."""
        end = self._text.find(b"\n", self._at)
        if end < 0:
            raise self._refused("it ends in the middle")
        line = self._text[self._at : end]
        self._at = end + 1
        return line

    def _count(self, text: bytes, most: int) -> int:
        if not _COUNT.fullmatch(text) or int(text) > most:
            raise self._refused("a number in its header is malformed, or out of range")
        return int(text)

    def _refused(self, what: str) -> FormatRefused:
        return FormatRefused(
            f"{self._subject or 'The LightGBM model'} cannot be loaded: {what}.",
            code="format-content",
            subject=self._subject,
            hint="Save it again from a trusted copy, with the library that is installed here.",
        )


def _is_table(value: JSONValue) -> bool:
    return isinstance(value, list) and all(
        isinstance(column, list) and not any(isinstance(entry, dict | list) for entry in column)
        for column in value
    )
