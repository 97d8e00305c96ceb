"""The engine and the checkpoints on JAX and PyTorch, and the batch normalization on TensorFlow."""

import importlib.util
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT
from keras import layers

from lib import backends

# Refusals do not depend on the backend.
SELECTED = "test_alternating or killed or outlives"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_engine_and_training_pass_on(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    files = ("tests/test_alternating.py", "tests/test_training.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", *files, "-k", SELECTED],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 18


# Trains a game until Ctrl-C in step 6. With an argument, it resumes the game and compares it with
# an uninterrupted game.
HANDED_OVER = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import keras
import numpy as np
from test_alternating import Game
from lib import cli, training

def batch(step):
    if step == 6 and len(sys.argv) == 1:
        os.kill(os.getpid(), signal.SIGINT)
    return {{"x": (np.random.default_rng(step).normal(size=(4, 2)).astype("float32"),)}}

def weights_after(resume):
    game = Game()
    turns = [game.turn("right"), game.turn("left")]
    for turn in turns:
        turn.optimizer = keras.optimizers.RMSprop(0.01)
    game.compile(turns, share=game.left_output)
    # The same on every backend.
    rng = np.random.default_rng(0)
    for network in (game.left, game.right):
        network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
    training.train(game, batch, steps=12, interval=3, restart="restart.npz", settings={{}},
                   resume=resume)
    return game.get_weights()

try:
    resumed = weights_after(resume=len(sys.argv) > 1)
except cli.Stopped:
    sys.exit(130)
for ours, expected in zip(resumed, weights_after(resume=False), strict=True):
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_continues_from_a_checkpoint(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    script = tmp_path / "game.py"
    script.write_text(HANDED_OVER)

    def run(backend, *flags):
        environment = {**os.environ, "KERAS_BACKEND": backend}
        return subprocess.run([sys.executable, script, *flags], cwd=tmp_path, env=environment)

    assert run(backend).returncode == 130
    assert run("tensorflow", "resume").returncode == 0


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
names = sorted(p.stem for p in Path(sys.argv[1], "lib").glob("*.py") if p.stem != "__init__")
assert len(names) > 15, names
for name in names:
    importlib.import_module(f"lib.{name}")
after = state()
assert before.keys() == after.keys()
changed = [name for name in before if before[name] is not after[name]]
assert not changed, changed
from lib import backends
for _ in range(3):
    backends.speed_up_batch_normalization()
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
        pytest.skip("lib/backends.py replaces only TensorFlow's")
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


def test_only_backends_imports_a_backend():
    named = re.compile(r"^\s*(import|from) (tensorflow|jax|torch)\b", re.MULTILINE)
    paths = [*ROOT.glob("lib/*.py"), *ROOT.glob("chapter*/*.py")]
    assert [path.name for path in paths if named.search(path.read_text())] == ["backends.py"]


NORMALIZATION = """
import sys
import keras
import numpy as np
from keras import layers, ops
used = []
if sys.argv[1] == "lib":
    sys.path.insert(0, sys.argv[2])
    from lib import backends
    backends.speed_up_batch_normalization()
    normalize = backends._normalize
    backends._normalize = lambda *args: used.append(1) or normalize(*args)
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
        pytest.skip("lib/backends.py replaces only TensorFlow's")
    tolerances = {"3 float32": 1e-4, "16 float32": 1e-4, "3 mixed_bfloat16": 0.03}
    for who in ("lib", "keras"):
        command = [sys.executable, "-c", NORMALIZATION, who, ROOT, tmp_path / who, *tolerances]
        subprocess.run(command, check=True)
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
