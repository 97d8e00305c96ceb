"""Networks of agents: NumPy copies that act, updates, and weight files that record their agent."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from lib.engine import devices
from lib.engine.backends import feed
from lib.engine.step import AlternatingModel
from lib.files import weights
from lib.files.errors import UserError
from lib.run import program


def dense_layers(arrays: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Applies Dense layers in NumPy: ReLU after all but the last.

    An agent needs the output for one state per step. A call of the Keras network takes about a
    hundred times longer than its arithmetic.

    Args:
        arrays: the kernels and biases of the layers in turn, as from `get_weights`.
        x: (..., inputs).

    Returns:
        The output (..., outputs).
    """
    for kernel, bias in zip(arrays[:-2:2], arrays[1:-2:2], strict=True):
        x = np.maximum(x @ kernel + bias, 0)
    return x @ arrays[-2] + arrays[-1]


class NumpyPolicy:
    """NumPy copies of encoder and actor, which choose the actions.

    Args:
        encoder: Keras model of Dense layers, states -> features.
        actor: Keras model with the Dense layers "mean" and "std", the latter with a softplus.
        least_std: is added to the standard deviation.
    """

    def __init__(self, encoder: keras.Model, actor: keras.Model, least_std: float) -> None:
        layers = actor.get_layer("mean"), actor.get_layer("std")
        self.pairs = [[layer.kernel for layer in layers], [layer.bias for layer in layers]]
        self.least_std = least_std
        self.copy_encoder(encoder)
        self.update()

    def copy_encoder(self, encoder: keras.Model) -> None:
        """Copies the weights of the encoder, which training does not change."""
        self.encoder_weights = encoder.get_weights()

    def update(self) -> None:
        """Copies the weights of the actor again."""
        self.policy_weights = [
            np.concatenate([variable.numpy() for variable in pair], axis=-1) for pair in self.pairs
        ]

    def features(self, state: np.ndarray) -> np.ndarray:
        """Features (32,) of a state."""
        return dense_layers(self.encoder_weights, state)

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (...) of the action for features (..., 32)."""
        policy = dense_layers(self.policy_weights, features)
        return policy[..., 0], np.logaddexp(0, policy[..., 1]) + self.least_std


def fill_up(*arrays: np.ndarray) -> list[np.ndarray]:
    """Fills float32 arrays with as many rows of zeros as the last one needs for a power of two.

    Each new shape of a batch is compiled. The last array gets at least 128 rows.
    """
    rows = len(arrays[-1])
    more = max(128, 1 << (rows - 1).bit_length()) - rows
    filled = []
    for array in arrays:
        filled.append(np.zeros((len(array) + more, *array.shape[1:]), "float32"))
        filled[-1][: len(array)] = array
    return filled


def explained(targets: Any, values: Any, weights: Any) -> Any:
    """Returns the explained variance, 1 - Var(targets - values) / Var(targets), as a tensor.

    Args:
        targets, values, weights: tensors (rows,). The weights are equal, or 0 to leave out a row.
    """

    def variance(x):
        mean = ops.sum(weights * x) / ops.sum(weights)
        return ops.sum(weights * (x - mean) ** 2) / ops.sum(weights)

    return 1 - variance(targets - values) / (variance(targets) + 1e-9)


class EpisodeModel(AlternatingModel):
    """A model whose step learns from one episode and logs its numbers, instead of their means.

    Resetting the means before each episode would take longer than the step.
    """

    def log(self, values: dict[str, Any] | None = None, /, **named: Any) -> None:
        """Adds scalars to the log of this episode."""
        self.logged.update({**(values or {}), **named})

    def run_step(self, batch: Sequence[Any]) -> dict[str, Any]:
        """Runs `step` on one episode and returns what it has logged."""
        self.logged: dict[str, Any] = {}
        self.play([ops.convert_to_tensor(array) for array in batch])  # PyTorch gets arrays
        return dict(self.logged)

    @property
    def metrics(self) -> list[Any]:
        """None: nothing is averaged."""
        return []

    def update(self, *episode: np.ndarray) -> dict[str, float]:
        """Runs the compiled step on the arrays of an episode, and returns what it logs."""
        logged = self.train_on_batch(episode, return_dict=True)
        return {name: float(value) for name, value in logged.items()}


def in_one_call(batches: int) -> int:
    """Returns how many of so many batches one call of the compiled step can learn from."""
    try:
        return devices.steps_per_execution(batches)
    except UserError:  # with PyTorch, Keras makes one call each
        return 1


def train_on_batches(model: keras.Model, x: tuple[np.ndarray, ...], batch_size: int) -> float:
    """Updates a compiled model by one batch after the other, in the order of the rows.

    For many batches, `fit` with `steps_per_execution` is faster than one call each.

    Args:
        model: a compiled Keras model.
        x: tuple of arrays (rows, ...).
        batch_size: rows of a batch.

    Returns:
        float: The mean loss.
    """
    if len(x[0]) == batch_size:
        return float(model.train_on_batch(x))
    return model.fit(**feed({"x": x}, batch_size), verbose=0).history["loss"][0]


def fingerprint(network: keras.Model) -> str:
    """Returns 16 hexadecimal digits that identify the weights of a network."""
    digest = hashlib.sha256()
    for array in network.get_weights():
        digest.update(array.astype("float32").tobytes())
    return digest.hexdigest()[:16]


def find(name: str, script: str | Path, aliases: dict[str, str] | None = None) -> Path:
    """Returns the path of a weight file and prints it.

    Args:
        name: of the file, see `weights.find`.
        script: whose folder has the pretrained weights.
        aliases: {the book's name of a file: our name}, for names without a file.
    """
    if not Path(name).is_file():
        name = (aliases or {}).get(name, name)
    path = weights.find(name, script)
    print(f"weights: {path}")
    return path


def load(
    network: keras.Model, path: Path, expected: dict[str, Any], encoder: keras.Model | None = None
) -> None:
    """Loads the weights of an agent's network.

    The file of an actor or value network in the book's own form has no record and begins with the
    layers of its encoder. Its encoder then also replaces the weights of `encoder`.

    Args:
        network: the network.
        path: the file.
        expected: dict of facts that the record of the file must have, such as its environment.
        encoder: the network before this one, or None.

    Raises:
        UserError: see `weights.load`; also if the file belongs to another agent.
    """
    about = weights.about(path)
    for name, value in expected.items():
        if about and about.get(name) != value:
            raise UserError(
                f"'{path}' has the {name} {about.get(name)}, expected {value}; "
                "choose the file of this agent, or the flags that the file was trained with"
            )
    if about or encoder is None:
        weights.load(network, path)
        return
    states = keras.Input(encoder.input_shape[1:])
    try:
        weights.load(keras.Model(states, network(encoder(states)), name=network.name), path)
    except UserError as error:
        raise UserError(
            f"{error} (a file without a record must be in the book's form, with the layers of the "
            "encoder)"
        ) from None
    print(f"encoder: that in {path}")


def load_networks(
    run: program.Run,
    networks: dict[str, keras.Model],
    files: dict[str, str | None],
    stem: str,
    expected: dict[str, Any],
    encoder: keras.Model | None = None,
) -> None:
    """Loads the networks for which there are files.

    Args:
        run: of the script, which has the pretrained weights next to it.
        networks: {name: network}.
        files: {name: weight file, or None}.
        stem: the pretrained files are called STEM_NAME.h5, the book's NAME_weights.h5.
        expected, encoder: see `load`.
    """
    for name, network in networks.items():
        file = files.get(name)
        if file:
            path = find(file, run.script, {f"{name}_weights.h5": f"{stem}_{name}.h5"})
            load(network, path, expected, encoder)


def save_networks(
    run: program.Run, networks: dict[str, keras.Model], stem: str, **about: Any
) -> None:
    """Saves networks as STEM_NAME.h5, with the end of the run's name before the dot.

    Args:
        run: of the script, whose settings the files record. Its name begins with the stem.
        networks: {name: network}.
        stem: the start of the file names.
        about: further json values that say what the weights are.
    """
    for name, network in networks.items():
        run.save(network, f"{stem}_{name}{run.name.removeprefix(stem)}.h5", **about)
