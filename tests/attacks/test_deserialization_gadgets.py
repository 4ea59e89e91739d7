"""Callables in allowed packages that do harm: refused when pinned and when the operator allowed them.

Sources: advisories and write-ups on scikit-learn, joblib, NumPy, SciPy and
pandas as gadget libraries, 2024 to 2026, and a search of those packages for
functions that import, evaluate, open, fetch or call what they are given.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer

from tests.attacks.deserialization_cell import Cell, assert_refused
from tests.attacks.test_deserialization_pickle import Call, short

REFUSED = ("pickle-refused", "not-allowed", "format-content")
P = b"\x80\x04"

NAMED = """
numpy.load numpy.loadtxt numpy.genfromtxt numpy.fromfile numpy.fromregex numpy.save numpy.savetxt
numpy.memmap numpy.frompyfunc numpy.vectorize numpy.apply_along_axis numpy.fromfunction numpy.piecewise
numpy.ufunc numpy.core.records.fromfile numpy._core.records.fromfile numpy.lib.format.read_array
numpy.lib.format.open_memmap numpy.lib.npyio.DataSource numpy.lib._datasource.open
numpy.lib._utils_impl.safe_eval numpy.f2py.compile numpy.f2py.crackfortran.myeval
numpy.distutils.exec_command.exec_command numpy.testing.run_module_suite
numpy.testing._private.utils.runstring numpy.ctypeslib.load_library numpy._core._internal._ctypes
numpy.ma.core.frombuffer numpy.char.chararray numpy.rec.fromfile numpy.lib.introspect.opt_func_info
joblib.load joblib.dump joblib.Memory joblib.memory.Memory joblib.numpy_pickle.load
joblib.numpy_pickle.NumpyUnpickler joblib.numpy_pickle_compat.NDArrayWrapper
joblib.numpy_pickle_compat.ZNDArrayWrapper joblib.func_inspect.get_func_code
joblib._store_backends.FileSystemStoreBackend joblib.externals.loky.get_reusable_executor
joblib.externals.cloudpickle.loads joblib.externals.cloudpickle.cloudpickle._make_function
joblib.externals.loky.backend.spawn.prepare joblib._memmapping_reducer._strided_from_memmap
joblib._memmapping_reducer.make_memmap joblib.parallel.BatchedCalls joblib.Parallel joblib.hashing.Hasher
sklearn.datasets.load_files sklearn.datasets.fetch_openml sklearn.datasets._base.load_csv_data
sklearn.datasets._base._fetch_remote sklearn.datasets._svmlight_format_io.load_svmlight_file
sklearn.externals._arff.load sklearn.utils._testing.assert_run_python_script_without_output
sklearn.utils._testing.TempMemmap sklearn.utils._testing._get_func_name sklearn.utils.fixes._eval
sklearn.utils.parallel._FuncWrapper sklearn.utils._plotting sklearn.base.warnings.warn
sklearn.utils.metaestimators sklearn.utils._estimator_html_repr.estimator_html_repr
sklearn.utils.estimator_checks.check_estimator sklearn.utils._available_if._AvailableIfDescriptor
sklearn.model_selection._validation._fit_and_score sklearn.metrics._scorer._PredictScorer
sklearn.metrics._scorer._PassthroughScorer scipy.io.loadmat scipy.io.wavfile.read scipy.io.mmread
scipy.io.netcdf_file scipy.sparse.load_npz scipy._lib._ccallback.LowLevelCallable
scipy.datasets._fetchers.fetch_data scipy._lib.doccer.inherit_docstring_from scipy.optimize.minimize
scipy.misc.electrocardiogram pandas.read_pickle pandas.eval pandas.read_csv pandas.io.pickle.read_pickle
pandas.io.common.get_handle pandas.core.computation.eval.eval pandas.core.apply.frame_apply
pandas.core.frame.DataFrame.query skops.io.load skops.io.loads skops.io._utils._import_obj
skops.io._utils.gettype skops.card.Card onnxruntime.InferenceSession onnx.load onnx.load_model
onnx.external_data_helper.load_external_data_for_tensor builtins.eval builtins.exec builtins.compile
builtins.getattr builtins.setattr builtins.open builtins.input builtins.map builtins.filter builtins.vars
builtins.globals builtins.breakpoint builtins.type builtins.super builtins.classmethod builtins.property
builtins.print builtins.object builtins.iter builtins.apply __builtin__.eval copy_reg._reconstructor
copyreg._reconstructor copyreg.__newobj__ copyreg.add_extension copyreg.pickle copy._reconstruct
functools.partial functools.reduce functools.partialmethod functools.singledispatch operator.methodcaller
operator.attrgetter operator.itemgetter operator.call itertools.starmap collections.namedtuple
collections._chain types.FunctionType types.CodeType types.MethodType types.SimpleNamespace
types.DynamicClassAttribute weakref.finalize atexit.register threading.Thread threading.Timer
multiprocessing.util.Finalize multiprocessing.reduction.rebuild_connection
concurrent.futures.thread.ThreadPoolExecutor asyncio.run
asyncio.unix_events._UnixSubprocessTransport.start ctypes.CDLL ctypes.cast ctypes._FuncPtr
_ctypes.PyObj_FromPtr cffi.FFI marshal.loads pickle.loads _pickle.Unpickler dill.loads cloudpickle.loads
shelve.open dbm.open sqlite3.connect importlib.import_module importlib.util.find_spec runpy.run_path
runpy.run_module imp.load_source pkgutil.resolve_name pydoc.locate pydoc.pipepager code.interact
codeop.compile_command timeit.timeit profile.run cProfile.run trace.Trace bdb.Bdb pdb.run
doctest.testfile doctest.debug_script unittest.mock._importer unittest.loader.TestLoader
logging.config.dictConfig logging.config._resolve logging.FileHandler socket.create_connection
urllib.request.urlopen http.client.HTTPConnection ftplib.FTP smtplib.SMTP webbrowser.open
ssl.get_server_certificate xmlrpc.client.ServerProxy os.system os.popen os.execvp os.spawnl posix.fork
subprocess.Popen subprocess.getoutput pty.spawn commands.getoutput platform.popen
_posixsubprocess.fork_exec shutil.rmtree shutil.copyfile tempfile.mktemp pathlib.Path.write_text
io.FileIO io.open_code _io.open fileinput.input linecache.getlines tokenize.open zipfile.ZipFile
tarfile.open zipimport.zipimporter site.addpackage site.addsitedir sys.exit sys.setprofile sys.settrace
sys.addaudithook sys._getframe gc.get_objects inspect.getattr_static ast.literal_eval signal.alarm
resource.setrlimit mmap.mmap readline.read_init_file rlcompleter.Completer
idlelib.pyshell.ModifiedInterpreter lib2to3.pgen2.grammar.Grammar.loads
lib2to3.pgen2.pgen.ParserGenerator distutils.file_util.write_file distutils.spawn.spawn
setuptools.sandbox.run_setup pip._internal.main venv.create ensurepip.bootstrap torch.load torch.hub.load
torch.jit.load torch.utils._config_module.load_config torch._dynamo.guards.GuardBuilder.get
torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression tensorflow.io.read_file
keras.models.load_model tensorflow.keras.utils.get_file catboost.CatBoost mlflow.pyfunc.load_model
aiohttp.request requests.get vault.open vault.vault.open vault.loaders.pickle_gate.restore
vault.loaders.skops.restore
"""
GADGETS = NAMED.split()


@pytest.mark.parametrize("start", range(0, len(GADGETS), 40), ids=lambda start: GADGETS[start])
def test_gadgets_are_never_called_however_they_are_reached(start: int, cell: Cell, tmp_path: Path) -> None:
    """By a call, by a constructor, and by giving them a state."""
    canary = tmp_path / "canary"
    for gadget in GADGETS[start : start + 40]:
        module, _, name = gadget.rpartition(".")
        named = short(module) + short(name) + b"\x93"
        files = (
            Call(module, name, f"touch {canary}").stream(3),
            P + named + short(f"touch {canary}") + b"\x85\x81.",
            P + named + b"}" + short("x") + b"Nsb.",
        )
        for told in cell.attacks("m.pkl", files, names=[gadget]):
            assert_refused(told, *REFUSED)
        assert not canary.exists()


def test_a_class_that_the_operator_allowed_is_made_without_its_constructor(
    cell: Cell, tmp_path: Path
) -> None:
    """What comes back of a class of plain Python is an instance with attributes, and nothing has run."""
    canary = tmp_path / "canary"
    (tmp_path / "loud.py").write_text(
        f"class Loud:\n    def __init__(self): open({str(canary)!r}, 'w')\n    __call__ = __init__\n"
    )
    named = short("loud") + short("Loud") + b"\x93"
    for data in (P + named + b")\x81}" + short("x") + b"Nsb0N.", P + named + b")R.", P + named + b")\x81)R."):
        told = cell.attack("m.pkl", data, names=["loud.Loud"])
        assert told.loaded == "pickle-refused"  # there is no such module here
    for data in (P + named + b")R.", P + named + b")\x81)R.", P + named + b"K\x01\x85\x81."):
        told = cell.attack("m.pkl", data, names=["loud.Loud"], folder=tmp_path)
        assert told.loaded == "pickle-refused"


def later(model: Any) -> list[tuple[str, bytes]]:
    """Write a model that holds a callable as a pickle and as a joblib file."""
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return [("m.pkl", pickle.dumps(model, 4)), ("m.joblib", buffer.getvalue())]


@pytest.mark.parametrize(
    "target", [print, exec, np.load, joblib.load, np.frompyfunc(abs, 1, 1), np.vectorize(abs)]
)
def test_callables_that_run_later_are_refused(target: Any, cell: Cell) -> None:
    for model in (
        FunctionTransformer(target),
        FunctionTransformer(inverse_func=target),
        TfidfVectorizer(analyzer=target),
        TfidfVectorizer(tokenizer=target),
        TfidfVectorizer(preprocessor=target),
        GridSearchCV(Ridge(), {}, scoring=target),
        GridSearchCV(Ridge(), {}, refit=target),
        Ridge().set_params(alpha=target),
    ):
        try:
            files = later(model)
        except Exception:
            continue  # what pickle itself cannot write, nobody can send this way
        for path, data in files:
            told = cell.attack(
                path, data, names=["builtins.print", "numpy.load", "numpy.vectorize", "builtins.exec"]
            )
            assert_refused(told, *REFUSED)


def test_joblib_wrappers_that_name_files_or_maps_are_refused(cell: Cell, tmp_path: Path) -> None:
    from joblib.numpy_pickle import NumpyArrayWrapper
    from joblib.numpy_pickle_compat import NDArrayWrapper, ZNDArrayWrapper

    secret = tmp_path / "secret.npy"
    np.save(secret, np.arange(3))
    mapped = np.memmap(tmp_path / "map.bin", dtype="f8", mode="w+", shape=(3,))
    wrappers: list[Any] = [
        NDArrayWrapper(str(secret), np.ndarray),
        ZNDArrayWrapper(str(secret), {}, np.ndarray),
        NumpyArrayWrapper(np.memmap, (3,), "C", np.dtype("<i8"), allow_mmap=True),
        NumpyArrayWrapper(np.matrix, (3,), "C", np.dtype("<i8")),
        NumpyArrayWrapper(np.ndarray, (-3,), "C", np.dtype("<i8")),
        NumpyArrayWrapper(np.ndarray, (2**62, 4), "C", np.dtype("<i8")),
        NumpyArrayWrapper(np.ndarray, (3.0,), "C", np.dtype("<i8")),
        NumpyArrayWrapper(np.ndarray, (3,), "K", np.dtype("<i8")),
        NumpyArrayWrapper(np.ndarray, (3,), "C", "<i8"),
        NumpyArrayWrapper(np.ndarray, (3,), "C", np.dtype("<i8"), numpy_array_alignment_bytes=7),
        NumpyArrayWrapper(print, (3,), "C", np.dtype("<i8")),
    ]
    names = [
        "joblib.numpy_pickle_compat.NDArrayWrapper",
        "joblib.numpy_pickle_compat.ZNDArrayWrapper",
        "numpy.memmap",
        "numpy.matrix",
        "builtins.print",
    ]
    for wrapper in wrappers:
        for data in (
            pickle.dumps(wrapper, 4),
            pickle.dumps(wrapper, 4) + bytes(range(64)),
            pickle.dumps([wrapper], 4),
        ):
            told = cell.attack("m.joblib", data, names=names)
            assert_refused(told, *REFUSED)
    told = cell.attack("m.pkl", pickle.dumps(mapped, 4))
    assert told.effects == []


def test_a_class_is_never_changed_for_the_whole_process(cell: Cell) -> None:
    """BUILD on a class replaces its methods: `KFold.split` is the published case."""
    for module, name in (
        ("sklearn.model_selection._split", "KFold"),
        ("sklearn.base", "BaseEstimator"),
        ("sklearn.linear_model._ridge", "Ridge"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("builtins", "set"),
    ):
        for state in (b"}" + short("split") + b"Ns", b"N}" + short("predict") + b"Ns\x86", b")", b"N"):
            data = P + short(module) + short(name) + b"\x93" + state + b"b."
            told = cell.attack("m.pkl", data, names=[f"{module}.{name}"])
            assert_refused(told, *REFUSED)
