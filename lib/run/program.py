"""The start and the end of a run: Keras, seeds, the output folder, errors as one line."""

import argparse
import atexit
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from lib.files.errors import Stopped, UserError, fail
from lib.run import console

# TensorFlow's C++ parts print which optimizations they skip.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Without AVX-512 VNNI, TensorFlow does not use oneDNN, which is faster there as well.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_FOLDERS: list[Path] = []  # output folders of this process


def load_keras() -> None:
    """Imports Keras and `lib.engine.backends`, without the messages of TensorFlow's C++ parts.

    No log level silences them (github.com/tensorflow/tensorflow/issues/100442).
    """
    terminal = os.dup(2)
    reason = None
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            import keras  # noqa: F401

            from lib.engine import backends  # noqa: F401
        except (ImportError, ValueError) as error:
            reason = error
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    if reason is not None:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        fail(f"cannot load Keras with the backend {backend}: {reason}; choose or install another")


def run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs `main(args)`: a UserError becomes its message and exit code 2, Ctrl-C exit code 130.

    At the end it prints the published results and the files that were written. A full disk is also
    one line, wherever the error occurs. With `--export`, the networks of the script are
    exported instead.
    """
    try:
        if getattr(args, "export", None):
            from tools import networks

            networks.of_script(args, sys.argv[0])
        else:
            main(args)
            if _FOLDERS:
                console.conclude(args, _FOLDERS[-1])
    except UserError as error:
        fail(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"cannot write: {error}; make room, then start again, with --resume if it trained")
    except Stopped as message:
        print(message, file=sys.stderr)
        raise SystemExit(130) from None
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        raise SystemExit(130) from None


def prepare(args: argparse.Namespace, name: str) -> Path:
    """Applies the shared flags and returns the folder for figures, `--output-dir`/`name`.

    Seeds Python, NumPy and the backend, sets the precision policy, installs the faster batch
    normalization of `lib.engine.backends`, and makes the folder.

    Raises:
        UserError: if the folder cannot be made or written, or has no checkpoint to resume from.
    """
    import keras
    import matplotlib

    from lib.engine import backends
    from lib.run import logs

    backends.speed_up_batch_normalization()
    if not args.show:
        matplotlib.use("Agg")
    if getattr(args, "tensorboard", False):
        logs.check_tensorboard()
    if args.devices > 1 or backends.processes() > 1:
        backends.use_devices(args.devices)
    backends.steps_per_execution(getattr(args, "steps_per_execution", None))
    if backends.process() > 0:
        _write_nothing(args, name)
    keras.utils.set_random_seed(args.seed)
    if args.mixed_precision:
        keras.config.set_dtype_policy("mixed_bfloat16")
    folder = make_folder(args, name)
    if getattr(args, "resume", False):
        # Known before the data are loaded. A sweep also has its finished rows to resume from.
        checkpoints = [*folder.rglob("restart*.npz"), *folder.glob("sweep.json")]
        if not checkpoints:
            raise UserError(f"nothing to resume: no checkpoint in '{folder}'; leave out --resume")
        for path in checkpoints:
            # Opening a named pipe would wait for a writer.
            if not path.is_file():
                raise UserError(
                    f"'{path}' is not a usable checkpoint: expected a file, found a folder or "
                    "another special file; remove it, or leave out --resume"
                )
    return folder


def _write_nothing(args, name):
    """Silences a process that is not the first, and gives it a temporary output folder.

    The folder starts as a copy of the real one, for `--resume`.
    """
    private = tempfile.TemporaryDirectory()
    atexit.register(private.cleanup)
    if (args.output_dir / name).is_dir():
        shutil.copytree(args.output_dir / name, Path(private.name) / name)
    args.output_dir = Path(private.name)
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_folder(args: argparse.Namespace, name: str) -> Path:
    """Makes the folder for figures, `--output-dir`/`name`, and returns it; does not load Keras.

    The folder is reserved for this process, see `lock_folder`.

    Raises:
        UserError: if the folder, or the one above it for the weights, cannot be made or written, or
            if another run uses the folder.
    """
    folder = args.output_dir / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, args.output_dir):
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


# {(device, inode): descriptor} of the folders that this process has locked.
_LOCKED: dict[tuple[int, int], int] = {}


def lock_folder(folder: Path) -> None:
    """Locks a folder until this process ends, however it ends; no file is written.

    The operating system releases the lock, also after `kill -9`. Where it has none (Windows, some
    network file systems), nothing is locked.

    Raises:
        UserError: if another process has locked the folder.
    """
    try:
        import fcntl
    except ImportError:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    status = os.fstat(descriptor)
    key = status.st_dev, status.st_ino
    if key in _LOCKED:
        os.close(descriptor)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another run is using '{folder}'; wait until it ends, or name another folder with "
            "--output-dir"
        ) from None
    except OSError:
        os.close(descriptor)
        return
    _LOCKED[key] = descriptor
