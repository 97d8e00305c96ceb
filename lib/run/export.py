"""Writes a network as ONNX, which runs without Keras, in a browser for example."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.files.errors import UserError

if TYPE_CHECKING:
    import keras

CHECKED = 100  # inputs on which an exported network is compared with Keras
TOLERANCE = 1e-4  # largest difference of any output
Range = tuple[Any, Any]  # lowest and highest value, numbers or arrays
IMAGES = (0.0, 1.0)
SYMMETRIC = (-1.0, 1.0)
PACKAGES = ("tf2onnx", "onnx", "onnxruntime")


def check_packages() -> None:
    """Checks that this installation can export.

    Raises:
        UserError: if the backend is not TensorFlow or a package is missing.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"ONNX export needs the TensorFlow backend, found {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow"
        )
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"ONNX export: expected the package {package}, found none; install it with "
                "'python3 -m pip install -r requirements-export.txt'"
            )


def write(
    networks: dict[str, keras.Model],
    path: Path,
    script: Path,
    inputs: Range = IMAGES,
    check: bool = True,
) -> dict[Path, float | None]:
    """Writes the networks of a script as ONNX files, and prints a line for each.

    Args:
        networks: {suffix of the file name: network with weights}.
        path: of the file, to whose stem the suffixes are added. Its folder is made if needed.
        script: for the metadata of the files.
        inputs: lowest and highest value of the random inputs of the check, numbers or arrays.
            Labels are one-hot instead, and the codes of a decoder are symmetric.
        check: compare with Keras on random inputs.

    Returns:
        {path: largest difference from Keras, None without `check`}.

    Raises:
        UserError: if a package is missing, a file cannot be written, or an exported network differs
            from Keras by more than TOLERANCE.
    """
    check_packages()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to '{path.parent}': {error.strerror}") from None
    differences: dict[Path, float | None] = {}
    for suffix, network in networks.items():
        started = time.time()
        target = path.with_name(f"{path.stem}{suffix}.onnx")
        export(network, target, {"script": f"{script.resolve().parent.name}/{script.name}"})
        line = f"{target}: {target.stat().st_size / 1e6:.1f} MB, {time.time() - started:.1f} s"
        found = None
        if check:
            span = SYMMETRIC if suffix == "-decoder" else inputs
            found = difference(network, target, random_inputs(network, span))
            line += f", differs from Keras by at most {found:.1e}"
        print(line, flush=True)
        if found is not None and not found <= TOLERANCE:
            raise UserError(
                f"'{target}' differs from Keras by {found:.1e}, expected at most {TOLERANCE:g}"
            )
        differences[target] = found
    return differences


def export(network: keras.Model, path: Path, about: dict[str, Any] | None = None) -> None:
    """Writes a network as an ONNX file, whole or not at all.

    Args:
        network: a functional or sequential model.
        path: the file.
        about: dict of texts for the metadata of the file.

    Raises:
        UserError: if the file cannot be written.
    """
    import onnx

    from lib.files.whole import write_whole

    # Keras exports a model only after its first call.
    zeros = [np.zeros((1, *tensor.shape[1:]), "float32") for tensor in network.inputs]
    network(zeros if len(zeros) > 1 else zeros[0])
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "network.onnx"
        network.export(file, format="onnx", verbose=False)
        model = onnx.load(file)
    _name_tensors(model, network)
    onnx.helper.set_model_props(model, {"network": network.name, **(about or {})})
    onnx.checker.check_model(model)
    contents = model.SerializeToString()
    write_whole(path, lambda temporary: temporary.write_bytes(contents))


def tensor_names(network: keras.Model) -> tuple[list[str], list[str]]:
    """The names of inputs and outputs in the file: Keras' own, "inputs" or "output" without one."""
    inputs = [tensor.name for tensor in network.inputs]
    if len(inputs) == 1 and inputs[0].startswith("keras_tensor"):
        inputs = ["inputs"]
    outputs = ["output"] if len(network.outputs) == 1 else list(network.output_names)
    return inputs, outputs


def _name_tensors(model, network):
    """Names the inputs, the outputs and the free batch size."""
    graph = model.graph
    inputs, outputs = tensor_names(network)
    named = [
        *zip(graph.input, inputs, strict=True),
        *zip(graph.output, outputs, strict=True),
    ]
    names = {value.name: name for value, name in named}
    for node in graph.node:
        for tensors in (node.input, node.output):
            for i, tensor in enumerate(tensors):
                # A tensor inside of the graph may have a name that is given to another one.
                tensors[i] = names.get(tensor, f"{tensor}_" if tensor in names.values() else tensor)
    for value, _ in named:
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


@contextlib.contextmanager
def _quiet():
    """Silences the messages of tf2onnx, and of NumPy about its use there."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def random_inputs(network: keras.Model, inputs: Range) -> list[np.ndarray]:
    """Random inputs of a network.

    Args:
        network: the Keras model.
        inputs: lowest and highest value, numbers or arrays; labels are one-hot instead.

    Returns:
        list: One float32 array (CHECKED, ...) for each input.
    """
    rng = np.random.default_rng(0)
    made = []
    for tensor, name in zip(network.inputs, tensor_names(network)[0], strict=True):
        if name == "labels":
            x = np.eye(tensor.shape[1])[np.arange(CHECKED) % tensor.shape[1]]
        else:
            x = rng.uniform(*inputs, (CHECKED, *tensor.shape[1:]))
        made.append(x.astype("float32"))
    return made


def difference(network: keras.Model, path: Path, inputs: list[np.ndarray]) -> float:
    """The largest difference between the outputs of a network and of its ONNX file.

    Args:
        network: the Keras model.
        path: the ONNX file.
        inputs: list of arrays, see `random_inputs`.
    """
    import keras
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if os.environ.get("OMP_NUM_THREADS") == "1" else 0
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = session.run(None, dict(zip(tensor_names(network)[0], inputs, strict=True)))
    expected = network(inputs if len(inputs) > 1 else inputs[0])
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    pairs = zip(found, map(keras.ops.convert_to_numpy, expected), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)
