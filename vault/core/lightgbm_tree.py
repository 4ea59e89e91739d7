"""Check one tree of a LightGBM text model: its arrays belong together, and index nothing out of range.

Layout: `Tree` in LightGBM's `tree.h`. Node 0 is the root; a child ≥ 0 is a
node, a child < 0 is the leaf `~child`; a categorical node's threshold is the
number of its bit set.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from vault.core import limits

NUMBER: Final = rb"-?(?:[0-9]{1,40}(?:\.[0-9]{1,40})?(?:e[-+]?[0-9]{1,3})?|inf|nan)"
MOST_FIELDS: Final = 22  # LightGBM reads no more lines of a tree

_INTEGER: Final = rb"-?(?:0|[1-9][0-9]{0,9})"
# Possessive: without it, matching remembers every number of a line, in a hundred bytes each.
_NUMBERS: Final = re.compile(rb"%b(?: %b)*+" % (NUMBER, NUMBER))
_INTEGERS: Final = re.compile(rb"%b(?: %b)*+" % (_INTEGER, _INTEGER))
_ONE_NUMBER: Final = re.compile(NUMBER)
_BEGIN: Final = (b"num_leaves", b"num_cat")
_SPLITS: Final = (
    b"split_feature",
    b"split_gain",
    b"threshold",
    b"decision_type",
    b"left_child",
    b"right_child",
)
_LEAVES: Final = (b"leaf_value", b"leaf_weight", b"leaf_count")
_INTERNAL: Final = (b"internal_value", b"internal_weight", b"internal_count")
_CATEGORIES: Final = (b"cat_boundaries", b"cat_threshold")
_LINEAR: Final = (b"leaf_const", b"num_features", b"leaf_features", b"leaf_coeff")
_INT: Final = 1 << 31
_CATEGORICAL: Final = 1  # of decision_type; 2 is the default direction, 4 and 8 the kind of missing values


class Tree:
    """One tree's fields in the order of the file; `problem` says what is wrong with them, if anything is."""

    def __init__(self, fields: Mapping[bytes, bytes], features: int) -> None:
        """Take the fields of a tree of a model with so many features."""
        self._fields = fields
        self._features = features
        self._leaves = 0
        self._categories = 0

    def problem(self) -> str:
        """Say why LightGBM must not be given this tree; empty if nothing speaks against it."""
        try:
            self._check()
        except _WrongError as wrong:
            return str(wrong)
        return ""

    def _check(self) -> None:
        self._leaves = self._single(b"num_leaves", 1, limits.TREE_LEAVES)
        self._categories = self._single(b"num_cat", 0, self._leaves - 1)
        linear = b"is_linear" in self._fields and bool(self._single(b"is_linear", 0, 1))
        expected = [*_BEGIN, *_SPLITS, *_LEAVES, *_INTERNAL]
        expected += _CATEGORIES if self._categories else ()
        expected += (b"is_linear",) if b"is_linear" in self._fields else ()
        expected += _LINEAR if linear else ()
        if list(self._fields) != [*expected, b"shrinkage"]:
            raise _WrongError("has missing or unknown fields, or in another order")
        if not _ONE_NUMBER.fullmatch(self._fields[b"shrinkage"]):
            raise _WrongError("has no shrinkage")
        self._lengths()
        if linear:
            self._linear()
        if self._leaves > 1:
            self._shape()
            self._splits()

    def _lengths(self) -> None:
        inner = self._leaves - 1
        for name in (b"split_gain", b"threshold", b"internal_value", b"internal_weight", b"internal_count"):
            self._numbers(name, inner)
        self._numbers(b"leaf_value", self._leaves)
        for name in (b"leaf_weight", b"leaf_count"):
            if self._leaves > 1 or self._fields[name]:  # a tree of one leaf may leave them empty
                self._numbers(name, self._leaves)

    def _shape(self) -> None:
        """See that the nodes form one tree: each node and leaf has one parent, which has a smaller number."""
        inner = self._leaves - 1
        left, right = self._integers(b"left_child", inner), self._integers(b"right_child", inner)
        if sorted([*left, *right]) != [*range(-self._leaves, 0), *range(1, inner)]:
            raise _WrongError("has children that are out of range, or a node with two parents")
        depth = [0] * inner
        for node, children in enumerate(zip(left, right, strict=True)):
            if depth[node] >= limits.TREE_DEPTH:
                raise _WrongError(f"is deeper than {limits.TREE_DEPTH:,} nodes")
            for child in children:
                if child >= 0:
                    # LightGBM numbers nodes in the order in which it splits; so there is no circle.
                    if child <= node:
                        raise _WrongError("has a node above its parent")
                    depth[child] = depth[node] + 1

    def _splits(self) -> None:
        inner = self._leaves - 1
        if not all(0 <= feature < self._features for feature in self._integers(b"split_feature", inner)):
            raise _WrongError("splits on a feature that the model does not have")
        kinds = self._integers(b"decision_type", inner)
        if not all(0 <= kind < 12 for kind in kinds):
            raise _WrongError("has an unknown kind of decision")
        thresholds = self._fields[b"threshold"].split(b" ")
        sets = [text for text, kind in zip(thresholds, kinds, strict=True) if kind & _CATEGORICAL]
        if sets != [b"%d" % number for number in range(self._categories)]:
            raise _WrongError("has a categorical node without a set of categories")
        if not self._categories:
            return
        bounds = self._integers(b"cat_boundaries", self._categories + 1)
        if bounds[0] != 0 or any(start >= end for start, end in pairwise(bounds)):
            raise _WrongError("has sets of categories that overlap")
        if bounds[-1] > limits.TREE_NUMBERS:
            raise _WrongError("has larger sets of categories than the limit")
        if not all(0 <= word < 2 * _INT for word in self._integers(b"cat_threshold", bounds[-1])):
            raise _WrongError("has a set of categories that is no bit set")

    def _linear(self) -> None:
        """Check the linear models in the leaves; each leaf's part of a list ends with another space."""
        self._numbers(b"leaf_const", self._leaves)
        counts = self._integers(b"num_features", self._leaves)
        if min(counts) < 0:
            raise _WrongError("has a negative number of features in a leaf")
        total = sum(counts)
        if total > limits.TREE_NUMBERS:
            raise _WrongError("has larger linear models than the limit")
        for name, form in ((b"leaf_features", _INTEGERS), (b"leaf_coeff", _NUMBERS)):
            text = self._fields[name]
            words = text.split() if text.count(b" ") == total + self._leaves else []
            if len(words) != total or (total and not form.fullmatch(b" ".join(words))):
                raise _WrongError(f"has a malformed line {name.decode('ascii')}")
        used = map(int, self._fields[b"leaf_features"].split())
        if not all(0 <= feature < self._features for feature in used):
            raise _WrongError("has a leaf with a feature that the model does not have")

    # --- reading ---

    def _single(self, name: bytes, low: int, high: int) -> int:
        text = self._fields.get(name, b"")
        if not re.fullmatch(_INTEGER, text) or not low <= int(text) <= high:
            raise _WrongError(f"has no valid {name.decode('ascii')}")
        return int(text)

    def _numbers(self, name: bytes, count: int) -> None:
        self._listed(name, count, _NUMBERS)

    def _integers(self, name: bytes, count: int) -> Sequence[int]:
        return [int(word) for word in self._listed(name, count, _INTEGERS)]

    def _listed(self, name: bytes, count: int, form: re.Pattern[bytes]) -> list[bytes]:
        text = self._fields[name]
        if count == 0 and not text:
            return []
        if text.count(b" ") != count - 1 or not form.fullmatch(text):
            raise _WrongError(f"has a malformed line {name.decode('ascii')}")
        return text.split(b" ")


class _WrongError(Exception):
    """What is wrong with a tree."""
