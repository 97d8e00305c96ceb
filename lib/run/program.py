"""The start and the end of a run: Keras, seeds, the output folder, errors as one line."""

from __future__ import annotations

import argparse
import atexit
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.files.errors import Stopped, UserError, fail, need_package
from lib.files.whole import check_regular
from lib.run import console

# TensorFlow's C++ parts print which optimizations they skip.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Without AVX-512 VNNI, TensorFlow does not use oneDNN, which is faster there as well.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    import keras

_FOLDERS: list[Path] = []  # output folders of this process
_LOCKED: set[Path] = set()  # folders that this process has locked


def load_keras() -> None:
    """Imports Keras and `lib.engine.backends`, without the messages of TensorFlow's C++ parts.

    No log level silences them (github.com/tensorflow/tensorflow/issues/100442).
    """
    terminal, failed = os.dup(2), None
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            import keras  # noqa: F401

            from lib.engine import backends  # noqa: F401
        except (ImportError, ValueError) as error:
            failed = error
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    if failed is not None:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        fail(f"cannot load Keras with the backend {backend}: {failed}; choose or install another")


@dataclass
class Run:
    """A run of a script: where its files go, and what the flags of all scripts say."""

    script: Path  # has the pretrained weights next to it
    folder: Path  # of figures and records
    output_dir: Path  # the folder above it, of the weight files
    seed: int = 0  # of everything random
    budget: int = 1  # training steps, epochs or episodes
    batch_size: int = 1  # examples of a training step
    # {name: value} of the hyper-parameters that the flags set. The record and the weight files
    # have them, and a continuation must not change them.
    settings: dict[str, Any] = field(default_factory=dict)
    resume: bool = False  # continue from the checkpoint
    evaluate: bool = False  # measure the weights
    show: bool = False  # also open the figures in windows
    summary: bool = False  # print the layers of the networks
    images: tuple[Path, ...] = ()  # the folders of your own images, if any
    export: Path | None = None  # the ONNX file to write instead of training
    tensorboard: bool = False  # also write TensorBoard's files
    steps_per_execution: int | None = None  # see `devices.steps_per_execution`

    @property
    def name(self) -> str:
        """The name of the folder, with which the names of the weight files begin."""
        return self.folder.name

    def introduce(
        self, method: str, data: str, *networks: keras.Model, diagram: str | None = None
    ) -> None:
        """Prints method, data, parameters and output folder, and draws each network to a file.

        Args:
            method, data: their names; your own images replace the name of the data.
            networks: the Keras models.
            diagram: the file name of the diagram, without `.png`, if it is not the network's.
        """
        from lib.measure import plots

        if self.images:
            data = "images in " + " and ".join(f"'{path}'" for path in self.images)
        print(f"Method: {method}\nData: {data}")
        if networks:
            counts = [f"{network.name} {network.count_params():,}" for network in networks]
            print(f"Parameters: {', '.join(counts)}")
        print(f"Output: {self.folder}/", flush=True)
        for network in networks:
            if self.summary:
                network.summary()
            plots.model_diagram(network, self.folder / f"{diagram or network.name}.png")

    def record(self, file: str, **numbers: Any) -> None:
        """Writes measured numbers to a json file in the folder, see `records.record`."""
        from lib.files import records

        records.record(self.folder / file, seed=self.seed, **numbers)
        console.RESULTS.update(numbers)

    def evaluated(self, weights: str | Sequence[str] | None, **numbers: Any) -> None:
        """Prints measured numbers and writes evaluation.json.

        `weights` names the measured files; None stands for the file that this run has saved.
        """
        console.show(numbers)
        self.record("evaluation.json", weights=weights or f"{self.name}.h5", **numbers)

    def to_load(self, file: str | None, default: str) -> str | None:
        """The weight file to load: the given one, or with `--export` the default; None to train."""
        return file or (default if self.export else None)

    def load(self, network: keras.Model, file: str) -> None:
        """Loads a weight file, see `weights.find` and `weights.load`."""
        from lib.files import weights

        weights.load(network, weights.find(file, self.script))

    def save(self, model: keras.Model, file: str, half: bool = False, **about: Any) -> None:
        """Writes a weight file into the output folder, see `weights.save`.

        It records the settings and `about`, json values that say what the weights are.
        """
        from lib.files import weights

        weights.save(model, self.output_dir / file, half=half, about={**about, **self.settings})

    def save_best(self, model: keras.Model, epoch: int, half: bool = False) -> None:
        """Replaces the best weights so far by saved_models/NAME_model.EPOCH.h5 in the folder."""
        from lib.files import weights

        folder = self.folder / "saved_models"
        folder.mkdir(exist_ok=True)
        best = folder / f"{self.name}_model.{epoch:03d}.h5"
        weights.save(model, best, half=half, about=self.settings)
        for former in {*folder.glob(f"{self.name}_model.*.h5")} - {best}:
            former.unlink()

    def exported(self, networks: dict[str, keras.Model], **inputs: Any) -> bool:
        """With `--export`, writes networks as ONNX files; returns whether there is that flag.

        The arguments and the errors are those of `export.write`.
        """
        if self.export is not None:
            from lib.run import export

            export.write(networks, self.export, script=self.script, **inputs)
        return self.export is not None


def run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs `main(args)`: a UserError becomes its message and exit code 2, Ctrl-C exit code 130.

    At the end it prints the result next to the published one. A full disk is also
    one line, wherever the error occurs.
    """
    try:
        main(args)
        if _FOLDERS and not vars(args).get("export"):
            console.conclude(args, _FOLDERS[-1])
    except UserError as error:
        fail(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"cannot write: {error}; make room, then start again, with --resume if it trained")
    except (Stopped, KeyboardInterrupt) as message:
        print(message if str(message) else "Stopped.", file=sys.stderr)
        raise SystemExit(130) from None


def start(args: argparse.Namespace, name: str, script: str | Path = "", **settings: Any) -> Run:
    """Applies the shared flags and returns the `Run`, with the folder `--output-dir`/`name`.

    Seeds Python, NumPy and the backend, sets the precision policy, installs the faster batch
    normalization of the engine, and makes the folder. Raises a UserError if the folder cannot be
    made or written, or has no checkpoint to resume from.

    Args:
        args, name, script: the parsed flags, the name of the folder, and the script's `__file__`.
        settings: hyper-parameters besides those of the flags.
    """
    import keras

    from lib.engine import backends, devices, processes

    given = vars(args)
    backends.speed_up_batch_normalization()
    choose_display(given.get("show", False))
    if given.get("tensorboard"):
        need_package("tensorboardX", "--tensorboard", "requirements-tensorboard.txt")
    if given.get("devices", 1) > 1 or processes.processes() > 1:
        devices.use_devices(args.devices)
    devices.steps_per_execution(given.get("steps_per_execution"))
    output_dir = args.output_dir
    if processes.process() > 0:
        output_dir = _write_nothing(output_dir, name)
    keras.utils.set_random_seed(args.seed)
    if given.get("mixed_precision"):
        keras.config.set_dtype_policy("mixed_bfloat16")
    folder = make_folder(output_dir, name)
    if given.get("resume"):
        # Known before the data are loaded. A table of settings also has finished rows.
        checkpoints = [*folder.rglob("restart*.npz"), *folder.glob("sweep.json")]
        if not checkpoints:
            raise UserError(f"nothing to resume: no checkpoint in '{folder}'; leave out --resume")
        for path in checkpoints:
            check_regular(path, "a checkpoint; remove it, or leave out --resume")
    images = given.get("images") or ()
    flags = {flag: given[flag] for flag in given.get("setting_names", ())}
    shared = {each.name: given[each.name] for each in fields(Run) if each.name in given}
    shared |= {
        "script": Path(script),
        "folder": folder,
        "output_dir": output_dir,
        "budget": next((given[k] for k in ("train_steps", "epochs", "episodes") if k in given), 1),
        "settings": {**flags, **settings},
        "images": (images,) if isinstance(images, Path) else tuple(images),
    }
    return Run(**shared)


def choose_display(show: bool) -> None:
    """Lets figures be drawn without a window system, unless they are to be shown."""
    import matplotlib

    if not show:
        matplotlib.use("Agg")


def _write_nothing(output_dir, name):
    """Silences a process that is not the first, and returns its own, temporary output folder.

    The folder starts as a copy of the real one, for `--resume`.
    """
    private = tempfile.TemporaryDirectory()
    atexit.register(private.cleanup)
    if (output_dir / name).is_dir():
        shutil.copytree(output_dir / name, Path(private.name) / name)
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Path(private.name)


def make_folder(output_dir: Path, name: str) -> Path:
    """Makes and locks the folder for figures, `output_dir`/`name`; does not load Keras.

    Raises a UserError if the folder, or the one above it for the weights, cannot be made or
    written, or if another run uses the folder.
    """
    folder = output_dir / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, output_dir):
            probe = place / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to '{folder}': expected a folder to write in, found "
            f"'{error.strerror}'; name another one with --output-dir"
        ) from None
    lock_folder(folder)
    _FOLDERS.append(folder)
    return folder


def lock_folder(folder: Path) -> None:
    """Locks a folder until this process ends, or raises a UserError if another one has locked it.

    The operating system releases the lock, also after `kill -9`, and no file is written. Where it
    has none (Windows, some network file systems), nothing is locked.
    """
    if folder.resolve() in _LOCKED:
        return
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another run is using '{folder}'; wait until it ends, or name another folder with "
            "--output-dir"
        ) from None
    except (ImportError, OSError):
        return
    # The lock lasts as long as its open file.
    _LOCKED.add(folder.resolve())
