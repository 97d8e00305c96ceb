"""Networks that the tests export once: a worker uses the files that another one has exported."""

import fcntl
import functools
import json
import os
from pathlib import Path
from unittest import mock

import numpy as np

from lib.run import export
from tools import networks


def shared_folder(tmp_path_factory):
    """A temporary folder that the workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def networks_of(name):
    """{suffix of the exported file: Keras model} of pretrained weights; no file is written."""
    kept = {}
    with mock.patch.object(export, "write", lambda found, *_, **__: kept.update(found)):
        networks.export_all([name], Path())
    return kept


def export_once(name, root):
    """Exports the networks of a pretrained model into root/onnx, unless they are there already.

    Returns:
        dict: {path: largest difference from Keras}.
    """
    folder = root / "onnx"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = root / f"{name}.txt"
        if not record.exists():
            found, write = {}, export.write
            with mock.patch.object(export, "write", lambda *a, **k: found.update(write(*a, **k))):
                networks.export_all([name], folder)
            lines = [f"{path.name} {difference}" for path, difference in found.items()]
            record.write_text("\n".join(lines))
        lines = [line.split() for line in record.read_text().splitlines()]
    return {folder / file: float(difference) for file, difference in lines}


def live_once(root):
    """Exports the training steps of the explorer into root/onnx/live, unless they are there."""
    import live_training

    folder = root / "onnx/live"
    with (root / "live.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            live_training.write(folder)
    return folder


@functools.cache
def keras_steps(name, live, steps=100, batch_size=16):
    """Trains the network of an experiment of the explorer with Keras, on random data.

    Args:
        name, live: the experiment, and the folder of the exported steps.
        steps, batch_size: how long.

    Returns:
        tuple: The state before, the inputs of all steps, their results, and the state after, each a
        dict of arrays. Among the inputs are the random numbers that Keras has drawn.
    """
    import export_steps
    import live_training
    import tensorflow as tf

    about = json.loads((live / "live.json").read_text())[name]
    # A rounding error grows where it switches a ReLU: a small rate and a fixed seed prevent that.
    tf.keras.utils.set_random_seed(0)
    experiment = live_training.EXPERIMENTS[name]()

    @tf.function
    def step(data):
        results = experiment.model.train_step(data)
        operations = tf.compat.v1.get_default_graph().get_operations()
        return results, [op.outputs[0] for op in operations if op.type in export_steps.DRAWS]

    def values():
        return {f"state_{i}": np.array(v) for i, v in enumerate(experiment.state)}

    rng = np.random.default_rng(0)
    given = {key: rng.random((steps, batch_size, *shape)) for key, shape in about["data"].items()}
    given = {key: array.astype("float32") for key, array in given.items()}
    for key, classes in (("labels", 10), ("actions", 2)):
        if key in given:
            given[key] = rng.integers(classes, size=(steps, batch_size)).astype("int32")
    if "ended" in given:
        given["ended"] = (given["ended"] < 0.1).astype("float32")
    fed = {"learning_rate": np.linspace(6e-4, 3e-4, steps), "beta": 0.5, "gamma": 0.9}
    fed = {key: np.full(steps, fed[key], "float32") for key in about["fed"]}
    first, draws, results = values(), [], []
    for i in range(steps):
        for key, variable in experiment.fed.items():
            variable.assign(fed[key][i])
        experiment.model.reset_metrics()
        data = [tf.constant(array[i]) for array in given.values()]
        found, drawn = step(tf.nest.pack_sequence_as(experiment.signature, data))
        draws.append([each.numpy() for each in drawn])
        results.append({key: float(value) for key, value in found.items()})
    inputs = {**fed, **given}
    inputs |= {key: np.stack([each[i] for each in draws]) for i, key in enumerate(about["draws"])}
    results = {key: np.array([each[key] for each in results]) for key in results[0]}
    return first, inputs, results, values()
