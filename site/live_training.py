"""The files with which the explorer trains networks of the scripts in the browser.

Each of EXPERIMENTS builds and compiles a network as its script does. `write` exports its training
step, see export_steps.py, and the functions that show what it has learned. It also writes the frame
of its weight file, into which the page puts the weights that it has trained.
"""

import base64
import json
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import export_steps
import h5py
import keras
import onnx

from lib import vae
from lib.files import safe_h5, weights
from lib.rl import environments
from lib.rl.state_encoder import build_encoder
from tools import registry
from tools.scripts import ROOT, load_script


@dataclass
class Experiment:
    """A compiled network that the browser trains.

    Attributes:
        model: the compiled model, its optimizer built.
        script: its script, relative to the root.
        signature: the argument of `model.train_step`, of `export_steps.spec`.
        fed: {name: Keras variable that the page sets}.
        saved: the network whose weights the script loads.
        more: further networks without training, such as a target network.
        functions: {name: (function that returns a dict of tensors, its signature)}.
        about: the record of the weight file.
    """

    model: keras.Model
    script: str
    signature: tuple
    fed: dict[str, keras.Variable]
    saved: keras.Model
    more: list[keras.Model] = field(default_factory=list)
    functions: dict[str, tuple] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self):
        """The variables that keep their values: weights, of further networks, of the optimizer."""
        optimizer = self.model.optimizer
        kept = [v for v in optimizer.variables if v is not optimizer.learning_rate]
        more = [variable for network in self.more for variable in network.weights]
        return [*self.model.trainable_variables, *more, *kept]

    def trace(self):
        """The training step."""
        return export_steps.trace(self.model.train_step, self.signature, self.state, self.fed)


def _fed_variable(value, name):
    """A variable instead of a Python number, which a traced step would contain."""
    return keras.Variable(value, trainable=False, name=name)


def mlp():
    """Listing 1.3.2 with the listing's constant learning rate; the page shifts the images."""
    path = registry.path_of("mlp-mnist-1.3.2")
    script = load_script(path)
    model = script.build_classifier()
    script.compile_classifier(model)
    model.optimizer.build(model.trainable_variables)
    images = export_steps.spec("images", 784)
    return Experiment(
        model,
        path,
        (images, export_steps.spec("labels", integer=True)),
        {"learning_rate": model.optimizer.learning_rate},
        saved=model,
        functions={"classify": (lambda x: {"output": model(x, training=False)}, images)},
    )


def vae_mlp():
    """Listing 8.1.1; the page decreases the learning rate along the script's cosine."""
    path = registry.path_of("vae-mlp-mnist-8.1.1")
    script = load_script(path)
    encoder, decoder = script.build_encoder(2), script.build_decoder(2)
    model = script.build_vae(encoder, decoder, seed=0)
    beta = _fed_variable(1.0, "beta")
    # A built layer takes no further variables; this one is none of its weights.
    vars(model.get_layer("z"))["beta"] = beta
    vae.compile_vae(model, keras.optimizers.Adam(script.LEARNING_RATE))
    model.optimizer.build(model.trainable_variables)
    images = export_steps.spec("images", 784)
    return Experiment(
        model,
        path,
        (images, export_steps.spec("targets", 784)),
        {"learning_rate": model.optimizer.learning_rate, "beta": beta},
        saved=script.build_vae(encoder, decoder, seed=0),  # whose beta is a number
        functions={
            "encode": (lambda x: dict(zip(("mean", "log_var"), encoder(x), strict=True)), images),
            "decode": (lambda z: {"output": decoder(z)}, export_steps.spec("codes", 2)),
        },
    )


def dqn():
    """Listing 9.6.1; the page plays, keeps the memory and copies the target network."""
    path = registry.path_of("dqn-cartpole-9.6.1")
    script = load_script(path)
    gamma = _fed_variable(script.Settings().gamma, "gamma")
    env = environments.make_discrete(script.ENV_ID)
    agent = script.DQNAgent(env, replace(script.Settings(), gamma=gamma), double=False)
    optimizer = agent.learner.optimizer
    optimizer.build(agent.learner.trainable_variables)
    transitions = (
        export_steps.spec("states", 4),
        export_steps.spec("actions", integer=True),
        export_steps.spec("rewards"),
        export_steps.spec("next_states", 4),
        export_steps.spec("ended"),
    )
    return Experiment(
        agent.learner,
        path,
        (transitions,),
        {"learning_rate": optimizer.learning_rate, "gamma": gamma},
        saved=agent.q_network,
        more=[agent.target_network],
        about={"method": "dqn", "environment": script.ENV_ID},
    )


EXPERIMENTS = {"mlp": mlp, "vae": vae_mlp, "dqn": dqn}


def write(folder):
    """Writes the files of all experiments and of the policy gradients into a new folder.

    What the page needs to know about them is in live.json.
    """
    folder.mkdir()
    found = {name: _write(build(), name, folder) for name, build in EXPERIMENTS.items()}
    found["policy"] = _write_policy(folder)
    (folder / "live.json").write_text(json.dumps(found))


def _write(experiment, name, folder):
    step = experiment.trace()
    model = export_steps.repeat(step, export_steps.convert(step))
    files = {"step": _save(model, folder / f"{name}-step.onnx")}
    functions = {}
    for function, (call, signature) in experiment.functions.items():
        made = export_steps.trace(call, signature, experiment.state)
        files[function] = _save(export_steps.convert(made), folder / f"{name}-{function}.onnx")
        functions[function] = {"state": made.state, "data": made.data}
    frame = write_frame(experiment.saved, experiment.about, folder / f"{name}-frame.json")
    tensors = {key: step.graph.get_tensor_by_name(f"{key}:0") for key in (*step.data, *step.draws)}
    shapes = {key: tensor.shape[1:].as_list() for key, tensor in tensors.items()}
    return {
        "files": {**files, "frame": frame},
        "weights": len(experiment.saved.trainable_variables),
        "state": [
            {"name": f"state_{i}", "shape": list(v.shape), "integer": v.dtype == "int64"}
            for i, v in enumerate(experiment.state)
        ],
        "assigned": step.assigned,
        "fed": step.fed,
        "data": {key: shapes[key] for key in step.data},
        "draws": {key: {"kind": kind, "shape": shapes[key]} for key, kind in step.draws.items()},
        "functions": functions,
    }


def _save(model, path):
    """Writes an ONNX file; returns its size."""
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path.stat().st_size


def write_frame(network, about, path):
    """Writes the weight file of a network without its numbers, as json; returns its size.

    It has the size of the file, pieces (offset, base64) of it, and the offset and the bytes of each
    array, in the order of `network.weights`. The checksum at the end of the file is left out.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "network.h5"
        weights.save(network, file, about=about)
        contents = file.read_bytes()
        contents = contents[: contents.rindex(safe_h5.MARK)]
        if safe_h5.KEY_MARK in contents:
            contents = contents[: contents.rindex(safe_h5.KEY_MARK)]
        with h5py.File(file) as opened:
            root = opened["model_weights"]
            arrays = [
                (item.id.get_offset(), item.id.get_storage_size())
                for layer in root.attrs["layer_names"]
                for item in (root[layer][each] for each in root[layer].attrs["weight_names"])
            ]
    pieces, start = [], 0
    for offset, size in [*sorted(arrays), (len(contents), 0)]:
        pieces.append((start, base64.b64encode(contents[start:offset]).decode()))
        start = offset + size
    path.write_text(json.dumps({"size": len(contents), "arrays": arrays, "pieces": pieces}))
    return path.stat().st_size


def _write_policy(folder):
    """Writes what listing 10.1.1 needs in the browser: the encoder and frames of the actors."""
    path = registry.path_of("policygradient-car-10.1.1")
    script = load_script(path)
    encoder = build_encoder(2)
    weights.load(encoder, ROOT / path.rpartition("/")[0] / "weights/car_encoder.h5")
    arrays = [array.astype("<f4") for array in encoder.get_weights()]
    (folder / "policy-encoder.bin").write_bytes(b"".join(array.tobytes() for array in arrays))
    files = {"encoder": (folder / "policy-encoder.bin").stat().st_size}
    settings = {}
    for method in ("reinforce", "baseline", "actor_critic", "a2c"):
        chosen = replace(script.Settings(), **(script.A2C if method == "a2c" else {}))
        agent = script.PolicyAgent(method, encoder, chosen)
        settings[method] = asdict(chosen)
        about = {**script.about(agent, script.ENV_ID), **asdict(chosen)}
        name = f"frame_{method}"
        files[name] = write_frame(agent.actor, about, folder / f"policy-{name}.json")
    return {
        "files": files,
        "encoder": [list(array.shape) for array in arrays],
        "settings": settings,
    }
