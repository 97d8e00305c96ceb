"""Export pretrained networks to ONNX, which runs without Keras, in a browser for example.

    python3 -m tools.networks                          all networks, into onnx/; two minutes
    python3 -m tools.networks dcgan_mnist              the network of one weight file
    python3 -m tools.networks --output-dir exported    into another folder

Each file is compared with Keras on 100 random inputs, and the largest difference is printed. The
packages are in requirements-export.txt. A script exports its own network, also one that you have
trained: `python3 dcgan-mnist-4.2.1.py --export dcgan.onnx --generator=dcgan_mnist.h5`.

The batch size of an exported network is free, its numbers are float32, and its inputs and outputs
have the names that Keras gives them. A VAE is exported as encoder and decoder without the random
draw between them. A policy is one network from states to mean and standard deviation of the action.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from lib.files import weights
from lib.files.errors import UserError
from lib.run import flags, program
from lib.run.export import (
    IMAGES,
    SYMMETRIC,
    TOLERANCE,
    Range,
    check_packages,
    difference,
    export,
    random_inputs,
)
from tools.scripts import ROOT, load_script

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights and how their networks are built.

    Args:
        script: the listing, relative to the root.
        files: the weight files in weights/ next to the script.
        build: function of the script's module and the paths of the files that returns
            {suffix of the exported file: network with weights}.
        flags: names of the script's flags that replace the files.
        inputs: lowest and highest value of the random inputs of the check, numbers or arrays.
            Labels are one-hot instead.
    """

    script: str
    files: tuple[str, ...]
    build: Callable[[ModuleType, Sequence[Path]], dict[str, keras.Model]]
    flags: tuple[str, ...] = ("weights",)
    inputs: Range = IMAGES


def _one(builder):
    """Returns a `build` for a single network, which `builder` makes from module and path."""

    def build(script, paths):
        network = builder(script, paths[0])
        weights.load(network, paths[0])
        return {"": network}

    return build


def _classifier(script, path):
    return script.build_classifier()


# Augmentation has no weights and does nothing outside of training. It is not exported.


def _resnet(script, path):
    form = re.search(r"resnet(\d+)v([12])", path.stem) or ("", 20, 1)
    return script.build_resnet(int(form[1]), int(form[2]), augmentation=None)


def _densenet(script, path):
    form = re.search(r"densenet(\d+)k(\d+)", path.stem) or ("", 100, 12)
    return script.build_densenet(int(form[1]), int(form[2]), augmentation=None, dropout=0)


def _image_shape(path):
    """The shape of the images that the weights of a GAN or an autoencoder were trained on."""
    about = weights.about(path)
    size = about.get("image_size", 28)
    return size, size, 3 if about.get("color") else 1


def _unconditional(script, path):
    return script.build_generator(_image_shape(path))


def _conditional(script, path):
    classes = weights.about(path).get("classes") or range(10)
    return script.build_generator(_image_shape(path), len(classes))


def _infogan(script, path):
    return script.build_generator()


def _autoencoder(script, path):
    shape = _image_shape(path)
    return script.build_autoencoder(script.build_encoder(shape), script.build_decoder(shape))


def _autoencoder_parts(script, paths):
    """The autoencoder and, as a second network, its decoder, which draws the plane of codes."""
    autoencoder = _autoencoder(script, paths[0])
    weights.load(autoencoder, paths[0])
    return {"": autoencoder, "-decoder": autoencoder.layers[-1]}


def _colorization(script, path):
    about = weights.about(path)
    chroma, size = about.get("chroma", False), about.get("image_size", 32)
    encoder = script.build_encoder(image_size=size)
    decoder = script.build_decoder("tanh" if chroma else "sigmoid", size)
    return script.build_autoencoder(encoder, decoder, chroma)


def _vae(script, paths):
    latent_dim = weights.about(paths[0]).get("latent_dim", 2)
    encoder, decoder = script.build_encoder(latent_dim), script.build_decoder(latent_dim)
    weights.load(script.build_vae(encoder, decoder, 0), paths[0])
    return {"-encoder": encoder, "-decoder": decoder}


def _stack(script, paths):
    networks = script.build_generator0(), script.build_generator1(), script.build_encoder()[-1]
    for network, path in zip(networks, paths, strict=True):
        weights.load(network, path)
    return dict(zip(("-gen0", "-gen1", "-encoder"), networks, strict=True))


def _cycle(task):
    def build(script, paths):
        from lib.cyclegan import translation

        form = translation.form_of(paths[0])
        networks = script.build_generators(
            form.get("task", task),
            form.get("normalization", "channel"),
            form.get("identity", False),
            form.get("image_size", 32),
            (3 if form["color"] else 1) if "color" in form else None,
        )
        for network, path in zip(networks, paths, strict=True):
            weights.load(network, path)
        return {f"-{network.name}": network for network in networks}

    return build


def _q_network(script, path):
    return script.build_q_network(4, 2)


def _policy(script, paths):
    import keras

    from lib.rl.state_encoder import build_encoder

    least_std = weights.about(paths[1]).get("least_std", script.Settings().least_std)
    encoder, actor = build_encoder(2), script.build_actor(least_std)
    for network, path in zip((encoder, actor), paths, strict=True):
        weights.load(network, path)
    states = keras.Input((2,), name="states")
    return {"": keras.Model(states, actor(encoder(states)), name="policy")}


def path_of(script: str) -> str:
    """The path of the script of this name, relative to the root."""
    (path,) = ROOT.glob(f"chapter*/{script}.py")
    return path.relative_to(ROOT).as_posix()


def _pretrained(script, files, build, *further):
    """A `Pretrained` of the script of this name, and of files of these names."""
    return Pretrained(path_of(script), tuple(f"{file}.h5" for file in files), build, *further)


_WEIGHTS, _GENERATOR = ("weights",), ("generator",)
_CENTERED = (-0.5, 0.5)  # images less the pixel mean
_STATES = (np.array([-1.2, -0.07]), np.array([0.6, 0.07]))  # position and velocity of the car

PRETRAINED = {
    **{
        name: _pretrained(script, (name,), _one(build), flags, inputs)
        for name, script, build, flags, inputs in (
            ("mlp_mnist", "mlp-mnist-1.3.2", _classifier, _WEIGHTS, IMAGES),
            ("cnn_mnist", "cnn-mnist-1.4.1", _classifier, _WEIGHTS, IMAGES),
            ("rnn_mnist", "rnn-mnist-1.5.1", _classifier, _WEIGHTS, IMAGES),
            ("cnn_functional", "cnn-functional-2.1.1", _classifier, _WEIGHTS, IMAGES),
            ("cnn_y_network", "cnn-y-network-2.1.2", _classifier, _WEIGHTS, IMAGES),
            ("cifar10_resnet20v1", "resnet-cifar10-2.2.1", _resnet, _WEIGHTS, _CENTERED),
            ("cifar10_resnet56v2", "resnet-cifar10-2.2.1", _resnet, _WEIGHTS, _CENTERED),
            ("cifar10_densenet100k12", "densenet-cifar10-2.4.1", _densenet, _WEIGHTS, _CENTERED),
            ("autoencoder_mnist", "autoencoder-mnist-3.2.1", _autoencoder, _WEIGHTS, IMAGES),
            (
                "denoising_autoencoder",
                "denoising-autoencoder-mnist-3.3.1",
                _autoencoder,
                _WEIGHTS,
                IMAGES,
            ),
            *(
                (name, "colorization-autoencoder-cifar10-3.4.1", _colorization, _WEIGHTS, IMAGES)
                for name in ("colorized_ae", "colorized_ae_chroma")
            ),
            ("dcgan_mnist", "dcgan-mnist-4.2.1", _unconditional, _GENERATOR, SYMMETRIC),
            ("cgan_mnist", "cgan-mnist-4.3.1", _conditional, _GENERATOR, SYMMETRIC),
            ("wgan_mnist", "wgan-mnist-5.1.2", _unconditional, _GENERATOR, SYMMETRIC),
            ("lsgan_mnist", "lsgan-mnist-5.2.1", _unconditional, _GENERATOR, SYMMETRIC),
            ("acgan_mnist", "acgan-mnist-5.3.1", _conditional, _GENERATOR, SYMMETRIC),
            ("infogan_mnist", "infogan-mnist-6.1.1", _infogan, _GENERATOR, SYMMETRIC),
            ("dqn_cartpole", "dqn-cartpole-9.6.1", _q_network, _WEIGHTS, SYMMETRIC),
            ("ddqn_cartpole", "dqn-cartpole-9.6.1", _q_network, _WEIGHTS, SYMMETRIC),
        )
    },
    "autoencoder_2dim": _pretrained(
        "autoencoder-2dim-mnist-3.2.2", ("autoencoder_2dim",), _autoencoder_parts
    ),
    "stackedgan_mnist": _pretrained(
        "stackedgan-mnist-6.2.1",
        ("stackedgan_mnist-gen0", "stackedgan_mnist-gen1", "stackedgan_mnist-encoder"),
        _stack,
        ("generator0", "generator1", "encoder"),
        SYMMETRIC,
    ),
    **{
        name: _pretrained(
            "cyclegan-7.1.1", (f"{name}-g_source", f"{name}-g_target"), _cycle(task), ()
        )
        for name, task in (
            ("cyclegan_cifar10", "cifar10"),
            ("cyclegan_cifar10_plain", "cifar10"),
            ("cyclegan_mnist_m_plain", "mnist-m"),
        )
    },
    **{
        name: _pretrained(script, (name,), _vae)
        for name, script in (
            ("vae_mlp_mnist", "vae-mlp-mnist-8.1.1"),
            ("vae_cnn_mnist", "vae-cnn-mnist-8.1.2"),
            ("cvae_cnn_mnist", "cvae-cnn-mnist-8.2.1"),
            ("beta-cvae_cnn_mnist", "cvae-cnn-mnist-8.2.1"),
            ("beta12-cvae_cnn_mnist", "cvae-cnn-mnist-8.2.1"),
        )
    },
    **{
        f"car_{method}": _pretrained(
            "policygradient-car-10.1.1",
            ("car_encoder", f"car_{method}_actor"),
            _policy,
            ("encoder_weights", "actor_weights"),
            _STATES,
        )
        for method in ("reinforce", "baseline", "actor_critic", "a2c")
    },
}


def build(name: str, paths: Sequence[Path] | None = None) -> dict[str, keras.Model]:
    """Builds pretrained networks.

    Args:
        name: a key of PRETRAINED.
        paths: weight files to read instead of the pretrained ones.

    Returns:
        dict: {suffix of the exported file: network}.
    """
    entry = PRETRAINED[name]
    folder = (ROOT / entry.script).parent / "weights"
    return entry.build(load_script(entry.script), paths or [folder / file for file in entry.files])


def export_all(
    names: Iterable[str],
    target: Callable[[str, str], Path],
    check: bool = True,
    paths: Sequence[Path] | None = None,
) -> dict[Path, float | None]:
    """Exports pretrained networks and prints a line for each file.

    Args:
        names: keys of PRETRAINED.
        target: function of name and suffix that returns the path of the file.
        check: compare with Keras.
        paths: see `build`.

    Returns:
        dict: {path: largest difference from Keras, None without `check`}.

    Raises:
        UserError: if an exported network differs from Keras by more than TOLERANCE.
    """
    check_packages()
    differences: dict[Path, float | None] = {}
    for name in names:
        entry = PRETRAINED[name]
        for suffix, network in build(name, paths).items():
            started = time.time()
            path = target(name, suffix)
            export(network, path, {"script": entry.script})
            line = f"{path}: {path.stat().st_size / 1e6:.1f} MB, {time.time() - started:.1f} s"
            differences[path] = None
            if check:
                found = difference(network, path, random_inputs(network, _inputs(entry, suffix)))
                differences[path] = found
                line += f", differs from Keras by at most {found:.1e}"
            print(line, flush=True)
            if check and not found <= TOLERANCE:
                raise UserError(
                    f"'{path}' differs from Keras by {found:.1e}, expected at most {TOLERANCE:g}"
                )
    return differences


def _inputs(entry, suffix):
    """The range of the random inputs; that of codes is symmetric."""
    return SYMMETRIC if suffix == "-decoder" else entry.inputs


def of_script(args: argparse.Namespace, script: str | Path) -> None:
    """Exports the networks of a script for `--export`, with the weights that its flags name.

    Several networks of one script get their names before the suffix of the file.

    Args:
        args: the parsed flags, with `export`.
        script: path of the script.

    Raises:
        UserError: see `export_all`; also for unusable weights.
    """
    path = Path(script).resolve()
    entries = {name: entry for name, entry in PRETRAINED.items() if ROOT / entry.script == path}
    name = chosen(entries, args)
    files = zip(_given(entries[name], args), entries[name].files, strict=True)
    paths = [weights.find(given or file, path) for given, file in files]
    check_packages()
    _make_folder(args.export.parent)
    export_all(
        [name],
        lambda _, suffix: args.export.with_name(f"{args.export.stem}{suffix}.onnx"),
        paths=paths,
    )


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to '{folder}': {error.strerror}") from None


def _given(entry, args):
    """The weight files that the flags name, None for each that they do not name."""
    if hasattr(args, "generators"):  # CycleGAN's flags have names for each task
        return args.generators or (None, None)
    return [getattr(args, flag, None) for flag in entry.flags]


def chosen(entries: dict[str, Pretrained], args: argparse.Namespace) -> str:
    """The name of the entry that the flags of a script select."""
    first = next(iter(entries))
    given = _given(entries[first], args)[-1]
    for name, entry in entries.items():
        if given and Path(given).name == entry.files[-1]:
            return name
    for name in entries:
        if getattr(args, "method", None) and name in (
            f"{args.method}_cartpole",
            f"car_{args.method}",
        ):
            return name
    if hasattr(args, "task"):
        from lib.cyclegan.domains import model_name

        wanted = model_name(args.task, args.patchgan, getattr(args, "images", None))
        if not given and wanted not in entries:
            raise UserError(
                f"no pretrained weights for '{wanted}'; expected --cifar10, or the flags that "
                "name weight files"
            )
        return wanted if wanted in entries else list(entries)[-1 if args.task != "cifar10" else 0]
    return first


def main(args: argparse.Namespace) -> None:
    """Exports the chosen networks."""
    unknown = set(args.names) - set(PRETRAINED)
    if unknown:
        raise UserError(
            f"no pretrained network '{min(unknown)}': expected some of {', '.join(PRETRAINED)}"
        )
    program.load_keras()
    _make_folder(args.output_dir)
    export_all(
        args.names or list(PRETRAINED),
        lambda name, suffix: args.output_dir / f"{name}{suffix}.onnx",
        check=not args.no_check,
    )


if __name__ == "__main__":
    parser = flags.Parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a weight file without .h5")
    parser.add_argument(
        "--output-dir", type=Path, default=Path("onnx"), help="folder of the files (default onnx)"
    )
    parser.add_argument("--no-check", action="store_true", help="do not compare with Keras")
    program.run(main, parser.parse_args(sys.argv[1:]))
