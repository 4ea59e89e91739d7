"""Check an XGBoost model (UBJSON) before XGBoost reads it: everything its prediction code indexes with.

Schema: XGBoost's documentation, "Introduction to Model IO", versions 1.6 to 3.
XGBoost reads children, features and categories without looking whether they
are in range, so a changed file reads or writes memory that is not its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vault.core import limits, strict_json, ubjson, xgboost_tree
from vault.core.ubjson import Numbers, Value
from vault.core.xgboost_fields import Taker
from vault.errors import Malformed

SIGNATURE: Final = b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"
VERSIONS: Final = ((1, 6), (4, 0))  # from the first, up to but without the second
ESTIMATORS: Final = frozenset({"classifier", "regressor", "ranker"})
OBJECTIVES: Final = frozenset(
    {
        "binary:hinge", "binary:logistic", "binary:logitraw", "count:poisson", "multi:softmax",
        "multi:softprob", "rank:map", "rank:ndcg", "rank:pairwise", "reg:absoluteerror", "reg:gamma",
        "reg:linear", "reg:logistic", "reg:pseudohubererror", "reg:quantileerror", "reg:squarederror",
        "reg:squaredlogerror", "reg:tweedie", "survival:aft", "survival:cox",
    }
)  # fmt: skip
_FEATURE_TYPES: Final = frozenset({"c", "float", "i", "int", "q"})
# XGBoost's number for the element type of an array interface, by the letter of UBJSON.
_CATEGORY_TYPES: Final[Mapping[str, int]] = {"i": 9, "U": 10, "I": 11, "l": 13, "L": 15}
_MOST: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Summary:
    """What a model says of itself; `estimator` is its kind where scikit-learn's interface saved it."""

    objective: str
    booster: str
    features: int
    groups: int
    trees: int
    estimator: str | None
    version: tuple[int, ...]


def check(data: bytes | memoryview, *, subject: str = "") -> Summary:
    """Return what the model says of itself, after everything in it was found to be in range.

    Raises:
        FormatRefused: `format-content`: damaged, inconsistent, out of bounds, or of a kind that
            this release does not check (vector leaves, unknown objectives, later versions).
    """
    found = ubjson.parse(data, subject=subject)
    return _Model(subject).check(found)


class _Model:
    """One check of one model; what later parts need is kept."""

    def __init__(self, subject: str) -> None:
        self._take = Taker(subject)
        self._subject = subject
        self._features = 0
        self._groups = 1
        self._targets = 1
        self._classes = 0

    def check(self, top: Value) -> Summary:
        found = self._take.fields(top, "model", {"learner", "version"})
        version = tuple(self._take.integers(found["version"], "version"))
        if len(version) != 3 or not VERSIONS[0] <= version[:2] < VERSIONS[1]:
            raise self._take.refused(
                f"its version {'.'.join(map(str, version[:3]))} is not one that is checked"
            )
        parts = {"attributes", "feature_names", "feature_types", "gradient_booster"}
        learner = self._take.fields(found["learner"], "learner", {*parts, "learner_model_param", "objective"})
        self._parameters(learner["learner_model_param"])
        for name in ("feature_names", "feature_types"):
            self._names(learner[name], name)
        objective = self._objective(learner["objective"])
        booster, trees, rounds = self._booster(learner["gradient_booster"])
        if self._groups > max(1, trees) and booster != "gblinear":
            raise self._take.refused("it has fewer trees than outputs")
        estimator = self._attributes(learner["attributes"], rounds)
        return Summary(objective, booster, self._features, self._groups, trees, estimator, version)

    # --- the learner ---

    def _parameters(self, value: Value) -> None:
        told = self._take.fields(
            value,
            "learner_model_param",
            {"base_score", "num_class", "num_feature"},
            {"boost_from_average", "num_target"},
        )
        self._features = self._take.count(told["num_feature"], "num_feature", limits.BOOSTER_FEATURES)
        self._classes = self._take.count(told["num_class"], "num_class", limits.BOOSTER_FEATURES)
        self._targets = self._take.count(told.get("num_target", "1"), "num_target", limits.BOOSTER_FEATURES)
        self._take.count(told.get("boost_from_average", "1"), "boost_from_average", 1)
        if self._targets < 1 or (self._classes > 1 and self._targets > 1):
            raise self._take.refused("it has several classes and several targets, or none")
        self._groups = max(1, self._classes, self._targets)
        if self._take.reals(told["base_score"], "base_score") not in (1, self._groups):
            raise self._take.refused("its base_score is not a number for each output")

    def _names(self, value: Value, what: str) -> None:
        names = self._take.items(value, what)
        if names and len(names) != self._features:
            raise self._take.refused(f"it has {len(names):,} {what} for {self._features:,} features")
        for name in names:
            text = self._take.text(name, what)
            if what == "feature_types" and text not in _FEATURE_TYPES:
                raise self._take.refused(f"a feature's type is {text[:40]!r}")

    def _objective(self, value: Value) -> str:
        if not isinstance(value, dict):
            raise self._take.refused("its objective is no object")
        name = self._take.text(value.get("name"), "objective")
        if name not in OBJECTIVES:
            raise self._take.refused(f"its objective {name[:60]!r} is not one that is checked")
        for key, told in value.items():
            if isinstance(told, dict):
                for text in told.values():
                    self._take.text(text, key)
            elif key in ("ti+", "tj-") and name.startswith("rank:"):
                self._take.array(told, key, "d")
            elif key != "name":
                raise self._take.refused(f"its objective has an unknown part {key[:40]!r}")
        if name.startswith("multi:"):
            told = self._take.fields(value, "objective", {"name", "softmax_multiclass_param"})
            inner = self._take.fields(told["softmax_multiclass_param"], "objective", {"num_class"})
            classes = self._take.count(inner["num_class"], "num_class", limits.BOOSTER_FEATURES)
            if classes != self._classes or classes < 1:
                raise self._take.refused("its objective and its parameters differ in the number of classes")
        elif self._classes > 1:
            raise self._take.refused("it has classes, and an objective without")
        return name

    def _attributes(self, value: Value, rounds: int) -> str | None:
        if not isinstance(value, dict):
            raise self._take.refused("its attributes are no object")
        attributes = {key: self._take.text(text, "attributes") for key, text in value.items()}
        if "best_iteration" in attributes:
            best = self._take.count(attributes["best_iteration"], "best_iteration", _MOST)
            if best >= max(1, rounds):
                raise self._take.refused("its best iteration is none of its iterations")
        told = attributes.get("scikit_learn")
        if told is None:
            return None
        try:
            parsed = strict_json.parse(
                told.encode("utf-8"), limit=limits.KIB, canonical=False, floats=True, subject=self._subject
            )
        except Malformed:
            raise self._take.refused("its attribute scikit_learn is no JSON") from None
        kind = parsed.get("_estimator_type") if isinstance(parsed, dict) and len(parsed) == 1 else None
        if not isinstance(kind, str) or kind not in ESTIMATORS:
            raise self._take.refused("its attribute scikit_learn names no kind of estimator")
        return kind

    # --- the booster ---

    def _booster(self, value: Value) -> tuple[str, int, int]:
        """Check the booster; give its name, how many trees it has, and how many rounds."""
        name = value.get("name") if isinstance(value, dict) else None
        if name == "dart":
            told = self._take.fields(value, "dart", {"gbtree", "name", "weight_drop"})
            inner = self._take.fields(told["gbtree"], "dart", {"model", "name"})
            trees, rounds = self._forest(inner["model"])
            dropped = self._take.items(told["weight_drop"], "weight_drop")
            if (
                inner["name"] != "gbtree"
                or len(dropped) != trees
                or not all(isinstance(weight, float) for weight in dropped)
            ):
                raise self._take.refused("it has no weight for each tree")
            return "dart", trees, rounds
        if name == "gblinear":
            told = self._take.fields(value, "gblinear", {"model", "name"})
            model = self._take.fields(told["model"], "model", {"weights"}, {"boosted_rounds", "param"})
            (rounds,) = self._take.integers([model.get("boosted_rounds", 0)], "boosted_rounds")
            self._take.array(model["weights"], "weights", "d", (self._features + 1) * self._groups)
            return "gblinear", 0, rounds
        if name != "gbtree":
            raise self._take.refused("its booster is not gbtree, dart or gblinear")
        told = self._take.fields(value, "gbtree", {"model", "name"})
        return "gbtree", *self._forest(told["model"])

    def _forest(self, value: Value) -> tuple[int, int]:
        model = self._take.fields(
            value, "model", {"gbtree_model_param", "tree_info", "trees"}, {"cats", "iteration_indptr"}
        )
        told = self._take.fields(
            model["gbtree_model_param"],
            "parameters",
            {"num_parallel_tree", "num_trees"},
            {"size_leaf_vector"},
        )
        trees = self._take.items(model["trees"], "trees")
        owners = self._take.integers(model["tree_info"], "tree_info")
        parallel = self._take.count(told["num_parallel_tree"], "num_parallel_tree", _MOST)
        if not self._take.count(told["num_trees"], "num_trees", _MOST) == len(trees) == len(owners):
            raise self._take.refused("it has another number of trees than it says")
        if parallel < 1 or not all(0 <= owner < self._groups for owner in owners):
            raise self._take.refused("a tree belongs to no output")
        rounds = len(trees) // (parallel * self._groups)
        if "iteration_indptr" in model:
            bounds = self._take.integers(model["iteration_indptr"], "iteration_indptr")
            if not bounds or bounds[0] != 0 or bounds[-1] != len(trees) or bounds != sorted(set(bounds)):
                raise self._take.refused("its iterations do not cover its trees")
            rounds = len(bounds) - 1
        held = 0
        for index, tree in enumerate(trees):
            held += xgboost_tree.check(self._take, tree, index, self._features)
            if held > limits.CATEGORY_BITS_BYTES:
                raise self._take.refused("the sets of its categories are larger than the limit")
        if "cats" in model:
            self._containers(model["cats"])
        return len(trees), rounds

    def _containers(self, value: Value) -> None:
        """Check the names of the categories: one container for each feature, or none at all."""
        cats = self._take.fields(value, "cats", {"enc", "feature_segments", "sorted_idx"})
        containers = self._take.items(cats["enc"], "cats")
        segments = self._take.ints(cats["feature_segments"], "feature_segments", "l")
        order = self._take.ints(cats["sorted_idx"], "sorted_idx", "l")
        if not containers and not segments and not order:
            return
        sizes = [self._categories(entry) for entry in containers]
        bounds = [0]
        for size in sizes:
            bounds.append(bounds[-1] + size)
        if len(containers) != self._features or list(segments) != bounds or len(order) != bounds[-1]:
            raise self._take.refused("its categories do not belong to its features")
        for start, end in pairwise(bounds):
            if sorted(order[start:end]) != list(range(end - start)):
                raise self._take.refused("its categories are not in an order")

    def _categories(self, value: Value) -> int:
        """Check the categories of one feature, texts or numbers; give how many there are."""
        if isinstance(value, dict) and "offsets" in value:
            told = self._take.fields(value, "categories", {"offsets", "values"})
            offsets = self._take.ints(told["offsets"], "offsets", "l")
            characters = self._take.array(told["values"], "values", "i").count
            if list(offsets) != sorted(offsets) or (offsets or (0,))[0] != 0:
                raise self._take.refused("the texts of its categories overlap")
            if (offsets or (0,))[-1] != characters:
                raise self._take.refused("the texts of its categories run past their end")
            return max(0, len(offsets) - 1)
        told = self._take.fields(value, "categories", {"type", "values"})
        values = told["values"]
        if type(told["type"]) is not int or not isinstance(values, Numbers) or values.kind not in "iIlL":
            raise self._take.refused("its categories are neither texts nor whole numbers")
        if told["type"] != _CATEGORY_TYPES[values.kind]:
            raise self._take.refused("its categories are of another kind than they say")
        return values.count
