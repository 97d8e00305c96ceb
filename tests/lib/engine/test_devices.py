"""Two devices compute what one computes; they are parts of the processor here.

This file is also the program that trains each network, or those that are named, for four steps on
a number of devices. Or it trains them on one device with numbers in place of random ones, which XLA
draws otherwise, and with plain or xla as the compiler:

    KERAS_BACKEND=jax python3 tests/lib/engine/test_devices.py DEVICES|plain|xla FOLDER [NAME ...]
"""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import run_script

ROOT = Path(__file__).resolve().parents[3]
STEPS, SIZE, RATE = 4, 8, 1e-3
NAMES = ["mlp", "resnet8", "autoencoder", "dcgan", "wgan", "infogan", "stackedgan", "cyclegan"]
NAMES += ["vae", "cvae"]

# One of each kind: XLA takes minutes to compile all of them for a processor.
WITH_XLA = ["mlp", "dcgan"]


def load(chapter, name):
    (path,) = ROOT.glob(f"chapter{chapter}-*/{name}*.py")
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def networks(names):
    """Yields (name, compiled model, arrays of its four batches) of the named networks."""
    import keras

    from lib import gan
    from lib.cyclegan.tasks import Task
    from lib.vae import compile_vae

    rng = np.random.default_rng(0)
    digits = rng.random((STEPS * SIZE, 28, 28, 1), dtype="float32")
    photos = rng.random((STEPS * SIZE, 32, 32, 3), dtype="float32")
    classes = rng.integers(0, 10, STEPS * SIZE)
    labels = np.eye(10, dtype="float32")[classes]
    codes = rng.uniform(-1, 1, (4, STEPS * SIZE, 1)).astype("float32")
    noise = rng.normal(size=(2, STEPS * SIZE, 50)).astype("float32")
    features = rng.normal(size=(STEPS * SIZE, 256)).astype("float32")
    joint = rng.integers(0, 2, (STEPS * SIZE, 1)).astype("float32")

    def descent():
        return keras.optimizers.SGD(RATE)

    def classifier(model):
        model.compile(descent(), "sparse_categorical_crossentropy")
        return model

    def mlp():
        inputs = digits.reshape(-1, 784)
        return classifier(load(1, "mlp").build_classifier(dropout=0)), (inputs, classes)

    def resnet8():
        model = load(2, "resnet").build_resnet(8, 1, augmentation=lambda images: images)
        return classifier(model), (photos, classes)

    def autoencoder():
        script = load(3, "autoencoder-mnist")
        model = script.build_autoencoder(script.build_encoder(), script.build_decoder())
        model.compile(descent(), "mse")
        return model, (digits, digits)

    def dcgan():
        script = load(4, "dcgan")
        script.GENERATOR_FILTERS, script.DISCRIMINATOR_FILTERS = (16, 8), (8, 16)
        return script.DCGAN(0, bn="separate", ema=0.9), ((digits,),)

    # The networks of chapters 5 and 6 as well: TensorFlow traces half as many operations.
    gan.GENERATOR_FILTERS, gan.DISCRIMINATOR_FILTERS = (16, 8), (8, 16)

    def wgan():
        script = load(5, "wgan")
        script.N_CRITIC = 2  # each turn is traced
        return script.build_wgan(0), ((np.repeat(digits, script.N_CRITIC, axis=0),),)

    def infogan():
        arrays = (digits, labels, labels[::-1], *codes[:2])
        return load(6, "infogan").build_infogan(0), (arrays,)

    def stackedgan():
        script = load(6, "stackedgan")
        model = script.StackedGAN(*script.build_encoder()[:2])
        return model, ((digits, features, labels, *noise, joint),)

    def cyclegan():
        script = load(7, "cyclegan")
        script.ENCODER_FILTERS, script.DISCRIMINATOR_FILTERS = (8, 16), (8, 16)
        model = script.build_cyclegan(Task("cifar10"), ema=0.9)
        return model, ((photos[..., :1], photos[::-1]),)

    def variational(chapter_script, images):
        script = load(8, chapter_script)
        model = script.build_vae(script.build_encoder(2), script.build_decoder(2), 0)
        compile_vae(model, keras.optimizers.SGD(1e-4))
        return model, (images, digits)

    builders = {
        "mlp": mlp,
        "resnet8": resnet8,
        "autoencoder": autoencoder,
        "dcgan": dcgan,
        "wgan": wgan,
        "infogan": infogan,
        "stackedgan": stackedgan,
        "cyclegan": cyclegan,
        "vae": lambda: variational("vae-cnn", digits),
        "cvae": lambda: variational("cvae", (digits, labels)),
    }
    for name in names:
        yield name, *builders[name]()


def waves(random, shape, *args, **kwargs):
    """Numbers in place of what `random` would draw."""
    from keras import ops

    ones = ops.ones(shape)
    return ops.sin(12.9898 * ops.cumsum(ones, axis=0) + 78.233 * ops.cumsum(ones, axis=1))


def values_of(model):
    import keras

    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def main(devices, folder, names):
    """Trains networks for four steps and writes their variables to FOLDER/NAME.npz."""
    sys.path.insert(0, str(ROOT))
    import keras

    from lib.engine import backends, optimizers
    from lib.engine import devices as engine_devices

    # Plain gradient descent: adaptive optimizers turn rounding into whole steps, because they
    # divide the smallest gradients by their own size.
    optimizers.rmsprop = lambda *args, **kwargs: keras.optimizers.SGD(RATE)
    keras.optimizers.Adam = lambda *args, **kwargs: keras.optimizers.SGD(RATE)
    if devices in ("plain", "xla"):
        backends.draw = waves
    elif int(devices) > 1:
        engine_devices.use_devices(int(devices))
    backends.speed_up_batch_normalization()
    for name, model, arrays in networks(names):
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(1)
        for variable in model.variables:
            if "kernel" in variable.name:
                limit = np.sqrt(6 / sum(variable.shape[-2:]) / np.prod(variable.shape[:-2]))
                variable.assign(rng.uniform(-limit, limit, variable.shape))
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        if devices == "xla":
            model.jit_compile = True
        kept = {f"start {i}": v for i, v in enumerate(values_of(model))}
        inputs = dict(zip(("x", "y"), arrays, strict=False))
        sizes = {len(array) for array in keras.tree.flatten(arrays)}
        parts = getattr(model, "parts", 1)
        history = model.fit(**backends.feed(inputs, sizes.pop() // STEPS, parts), verbose=0).history
        kept |= {f"end {i}": v for i, v in enumerate(values_of(model))}
        kept |= {f"log {key}": np.array(values) for key, values in history.items()}
        np.savez(folder / f"{name}.npz", **kept)
        print(name, flush=True)


def variables_after_training(backend, devices, names, folder):
    """{name: the arrays that `main` wrote}, from a process of its own."""
    folder.mkdir()
    done = run_script(
        __file__,
        *(devices, folder, *names),
        folder=folder,
        data=folder,
        fresh=backend != "tensorflow",
        KERAS_BACKEND=backend,
        PYTHONPATH=str(ROOT / "tests"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for name in names:
        with np.load(folder / f"{name}.npz") as file:
            found[name] = {key: file[key] for key in file.files}
    return found


def assert_same_training(all_one, all_two):
    """Compares what `variables_after_training` returned of two ways to train."""
    for name, one in all_one.items():
        two = all_two[name]
        assert one.keys() == two.keys()
        ends = [key for key in one if key.startswith("end")]
        starts = [key.replace("end", "start") for key in ends]
        moved = [
            np.abs(one[end] - one[start]).max() for end, start in zip(ends, starts, strict=True)
        ]
        assert np.count_nonzero(moved) > len(moved) / 2
        for key, distance in zip(ends, moved, strict=True):
            # A share of what the training changed in this variable, and rounding, which some
            # networks enlarge: the DCGAN differed by 2 %, most others by less than 0.1 %.
            share = 0.05 if name in ("resnet8", "dcgan") else 0.01
            message, atol = f"{name} {key}", share * distance + 1e-6
            np.testing.assert_allclose(two[key], one[key], rtol=1e-5, atol=atol, err_msg=message)
        for key in one.keys() - {*ends, *starts}:
            message = f"{name} {key}"
            np.testing.assert_allclose(two[key], one[key], rtol=1e-3, atol=1e-5, err_msg=message)


# One test for all networks: each worker of the suite would train them again.
@pytest.mark.parametrize(("backend", "names"), [("tensorflow", NAMES), ("jax", WITH_XLA)])
def test_two_devices_compute_what_one_computes(backend, names, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    assert_same_training(
        *(
            variables_after_training(backend, devices, names, tmp_path / str(devices))
            for devices in (1, 2)
        )
    )


def test_xla_computes_what_tensorflow_computes(tmp_path):
    assert_same_training(
        *(
            variables_after_training("tensorflow", kind, WITH_XLA, tmp_path / kind)
            for kind in ("plain", "xla")
        )
    )


# Trains a DCGAN to a step on some devices, from the checkpoint in the folder if there is one.
CONTINUED = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(ROOT / "tests/lib/engine")!r}]
devices, steps, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
import keras, numpy as np
from test_devices import RATE, load
from lib.engine import backends, optimizers
from lib.engine.devices import use_devices
from lib.run import program, training
optimizers.rmsprop = lambda *args, **kwargs: keras.optimizers.SGD(RATE)
if devices > 1:
    use_devices(devices)
backends.speed_up_batch_normalization()
keras.utils.set_random_seed(0)
script = load(4, "dcgan")
script.GENERATOR_FILTERS, script.DISCRIMINATOR_FILTERS = (16, 8), (8, 16)
model = script.DCGAN(0, ema=0.9)

def batch(step):
    return {{"x": (np.random.default_rng(step).random((8, 28, 28, 1), dtype="float32"),)}}

resume = (Path(folder) / "restart.npz").exists()
run = program.Run(Path("script.py"), Path(folder), Path(folder), resume=resume)
training.train(model, batch, run, steps=steps, interval=2, keep=True)
np.savez(folder + "/end.npz", *(keras.ops.convert_to_numpy(v) for v in model.variables))
"""


def test_a_run_continues_on_another_number_of_devices(tmp_path):
    ends, script = [], tmp_path / "continued.py"
    script.write_text(CONTINUED)
    # (devices, last step) of each part of a run
    for parts in [[(1, 4)], [(1, 2), (2, 4)], [(2, 2), (1, 4)]]:
        folder = tmp_path / str(len(ends))
        folder.mkdir()
        for part in parts:
            done = run_script(script, *part, folder, folder=folder, data=folder)
            assert done.returncode == 0, done.stderr[-3000:]
        with np.load(folder / "end.npz") as file:
            ends.append([file[key] for key in file.files])
    for whole, *changed in zip(*ends, strict=True):
        for other in changed:
            np.testing.assert_allclose(other, whole, rtol=1e-4, atol=1e-5)


def run_processes(count, path, *flags, folder, data):
    """Runs a script in so many processes that train together over the loopback device."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = []
    for number in range(count):
        environment = {
            **os.environ,
            "KERAS_BACKEND": "jax",
            "ADLK_DATA_DIR": str(data),
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
        command = [sys.executable, str(path), *flags, "--devices=2"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, cwd=folder, env=environment, **pipes))
    outputs = [process.communicate(timeout=300) for process in running]
    for process, (_, errors) in zip(running, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    # Only the first process and the communication library speak.
    spoken = [line for out, _ in outputs[1:] for line in out.splitlines()]
    assert all(line.startswith("[Gloo]") for line in spoken), spoken
    return outputs[0][0]


def test_two_processes_compute_what_one_computes(tmp_path, data_dir):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    path = ROOT / "chapter8-vae/vae-mlp-mnist-8.1.1.py"
    flags = ("--epochs=2", "--batch-size=8", "--evaluate")
    for count in (1, 2):
        folder = tmp_path / str(count)
        run_processes(count, path, *flags, folder=folder, data=data_dir)
    written = [sorted(p.relative_to(f) for p in f.rglob("*")) for f in (tmp_path / "1", folder)]
    assert written[0] == written[1]
    (one,), (two,) = ((tmp_path / str(count)).glob("*.h5") for count in (1, 2))
    with h5py.File(one) as one, h5py.File(two) as two:
        names = []
        one.visititems(lambda name, found: names.append(name) if hasattr(found, "shape") else None)
        assert len(names) >= 6
        for name in names:
            np.testing.assert_allclose(two[name][()], one[name][()], rtol=1e-3, atol=1e-5)
    for name in ("vae_mean.png", "digits_over_latent.png"):
        (figure,) = folder.rglob(name)
        assert plt.imread(figure).std() > 0


@pytest.mark.parametrize("plugin", ["jax_cuda12_plugin", "jax_cuda13_plugin", ""])
def test_jax_with_either_version_of_cuda_has_gpus(plugin, tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    (tmp_path / f"{plugin}.py").touch()
    code = "from lib.engine import backends; print(backends.backend._gpus())"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(bool(plugin))]


def test_several_processes_need_jax_and_a_multiple_of_devices(tmp_path, monkeypatch):
    from lib.engine import backends
    from lib.engine.devices import use_devices
    from lib.files.errors import UserError

    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="expected a multiple of the 2 processes"):
        use_devices(3)
    if backends.BACKEND == "tensorflow":
        with pytest.raises(UserError, match="KERAS_BACKEND=jax"):
            use_devices(2)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:] or NAMES)
