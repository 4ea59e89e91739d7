"""Which globals no model has a use for."""

import pytest

from vault.core import pickle_dangers


@pytest.mark.parametrize(
    "name",
    ["os.system", "posix.system", "builtins.exec", "__builtin__.eval", "builtins.open", "socket.socket",
     "subprocess.Popen", "builtins.__import__", "importlib.import_module", "runpy.run_path"],
)  # fmt: skip
def test_what_starts_programs_or_opens_files_is_a_danger(name: str) -> None:
    assert pickle_dangers.among(["sklearn.svm._classes.SVC", name]) == (name,)


def test_what_old_models_are_made_of_is_none() -> None:
    honest = {
        "__builtin__.object", "__builtin__.set", "copy_reg._reconstructor", "_codecs.encode",
        "functools.partial", "builtins.getattr", "numpy.core.multiarray._reconstruct",
        "numpy.random.__RandomState_ctor", "osmium.X",
        "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
        "joblib.numpy_pickle.NumpyArrayWrapper", "operator.itemgetter", "collections.OrderedDict",
        "builtins.bytearray",
    }  # fmt: skip
    assert pickle_dangers.among(honest) == ()


def test_dangers_are_sorted() -> None:
    assert pickle_dangers.among(["os.system", "builtins.exec"]) == ("builtins.exec", "os.system")
