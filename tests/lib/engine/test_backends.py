"""The engine and the checkpoints on JAX and PyTorch, and the batch normalization on TensorFlow."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, run_script
from keras import layers, ops
from test_step import Game

from lib.engine import backends
from lib.run import program, training

# Refusals do not depend on the backend.
SELECTED = "test_step or killed and game or ctrl_c_stops or outlives"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_engine_and_training_pass_on(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    files = ("tests/lib/engine/test_step.py", "tests/lib/run/test_training.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", *files, "-k", SELECTED],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 20


# Trains a game until Ctrl-C in step 6, and leaves a checkpoint.
INTERRUPTED = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(ROOT / "tests/lib/engine")!r}]
from test_backends import weights_after
weights_after(sys.argv[1], stop=6)
"""


def weights_after(folder, stop=None, resume=False):
    def batch(step):
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return {"x": (np.random.default_rng(step).normal(size=(4, 2)).astype("float32"),)}

    game = Game("right", "left", optimizer=lambda: keras.optimizers.RMSprop(0.01))
    # The same on every backend.
    rng = np.random.default_rng(0)
    for network in (game.left, game.right):
        network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
    run = program.Run(Path("script.py"), Path(folder), Path(folder), resume=resume)
    training.train(game, batch, run, steps=12, interval=3)
    return game.get_weights()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_continues_from_a_checkpoint(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert "Stopped: Stopped after step 7 of 12" in done.stderr
    resumed, whole = weights_after(tmp_path, resume=True), weights_after(tmp_path)
    for ours, expected in zip(resumed, whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metrics", [["accuracy"], [lambda y, p: ops.mean(p, axis=-1)]])
def test_the_first_step_is_traced_once(metrics, tmp_path):
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch traces nothing")
    traced = []

    class Classifier(keras.Sequential):
        def train_step(self, *args):
            traced.append(1)
            return super().train_step(*args)

        def test_step(self, *args):
            traced.append(0)
            return super().test_step(*args)

    def classifier():
        model = Classifier([keras.Input((4,)), layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
        return model

    x, y = np.ones((6, 4), "float32"), np.arange(6) % 3
    model = classifier()
    run = program.Run(tmp_path / "script.py", tmp_path, tmp_path)
    training.train(model, lambda step: {"x": x, "y": y}, run, steps=4, interval=2)
    assert traced == [1]
    trained = training.evaluate(model, x, y)
    untrained = training.evaluate(classifier(), x, y)
    assert traced == [1, 0, 0]
    assert trained.keys() == untrained.keys() and len(trained) == 2


CHANGES_NOTHING = """
import importlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import keras
from keras import layers

def state():
    named = {f"{m.__name__}.{c}.{k}": v for m in (layers, keras.optimizers, keras.models)
             for c, cls in vars(m).items() if isinstance(cls, type) for k, v in vars(cls).items()}
    return {**named, "policy": keras.config.dtype_policy().name, "floatx": keras.config.floatx()}

before = state()
root = Path(sys.argv[1])
paths = [p.relative_to(root).with_suffix("") for p in (root / "lib").rglob("[!_]*.py")]
assert len(paths) > 15, paths
for path in paths:
    importlib.import_module(".".join(path.parts))
after = state()
assert before.keys() == after.keys()
changed = [name for name in before if before[name] is not after[name]]
assert not changed, changed
from lib.engine import backends
for _ in range(3):
    backends.speed_up_batch_normalization()
    importlib.reload(backends.backend)
    importlib.reload(backends)
    backends.speed_up_batch_normalization()
model = keras.Sequential([keras.Input((4, 4, 3)), layers.BatchNormalization()])
model.compile("sgd", "mse")
model.fit(keras.ops.ones((8, 4, 4, 3)), keras.ops.ones((8, 4, 4, 3)), verbose=0)
"""


def test_importing_lib_leaves_keras_as_it_was_and_the_faster_kernel_can_be_installed_twice():
    done = subprocess.run(
        [sys.executable, "-c", CHANGES_NOTHING, ROOT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_synchronized_batch_normalization_keeps_its_own_code(monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("lib/engine replaces only TensorFlow's")
    monkeypatch.setattr(layers.BatchNormalization, "call", layers.BatchNormalization.call)
    backends.speed_up_batch_normalization()
    faster, used = layers.BatchNormalization.call, []
    plain = faster.plain
    monkeypatch.setattr(faster, "plain", lambda *args, **kw: used.append(1) or plain(*args, **kw))
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32")
    layers.BatchNormalization(synchronized=True)(x, training=True)
    assert used == [1]
    layers.BatchNormalization()(x, training=True)
    assert used == [1]


def test_only_the_engine_imports_a_backend():
    named = re.compile(r"^\s*(import|from) (tensorflow|jax|torch)\b", re.MULTILINE)
    paths = [*ROOT.glob("lib/**/*.py"), *ROOT.glob("tools/**/*.py"), *ROOT.glob("chapter*/*.py")]
    assert sorted(path.name for path in paths if named.search(path.read_text())) == [
        "on_jax.py",
        "on_tensorflow.py",
        "on_torch.py",
    ]


NORMALIZATION = """
import sys
import keras
import numpy as np
from keras import layers, ops
used = []
if sys.argv[1] == "lib":
    sys.path.insert(0, sys.argv[2])
    from lib.engine import backends
    backends.speed_up_batch_normalization()
    normalize = backends.backend._normalize
    backends.backend._normalize = lambda *args: used.append(1) or normalize(*args)
x = np.random.default_rng(0).normal(2, 3, (8, 5, 4, 6)).astype("float32")
for case in sys.argv[4:]:
    channels, policy = case.split()
    channels = int(channels)
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input(x.shape[1:]), layers.Conv2D(channels, 3, padding="same"),
        layers.BatchNormalization(), layers.Activation("tanh"),
        layers.GlobalAveragePooling2D(), layers.Dense(1)])
    model.layers[1].gamma.assign(np.linspace(1, 3, channels))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    used.clear()
    model.fit(x, np.ones((8, 1)), batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert bool(used) == (sys.argv[1] == "lib"), case
    predicted = model.predict(x, verbose=0).astype("float32")
    np.savez(f"{sys.argv[3]} {case}.npz", predicted=predicted, *model.get_weights())
"""


def test_batch_normalization_learns_as_keras_own_does(tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("lib/engine replaces only TensorFlow's")
    tolerances = {"3 float32": 1e-4, "16 float32": 1e-4, "3 mixed_bfloat16": 0.03}
    script = tmp_path / "normalization.py"
    script.write_text(NORMALIZATION)
    for who in ("lib", "keras"):
        flags = (who, ROOT, tmp_path / who, *tolerances)
        done = run_script(script, *flags, folder=tmp_path, data=tmp_path)
        assert done.returncode == 0, done.stderr
    for case, tolerance in tolerances.items():
        ours, keras_s = (np.load(tmp_path / f"{who} {case}.npz") for who in ("lib", "keras"))
        assert len(keras_s.files) == 9
        for name in keras_s.files:
            np.testing.assert_allclose(
                ours[name],
                keras_s[name],
                rtol=tolerance,
                atol=tolerance / 10,
                err_msg=f"{case} {name}",
            )
