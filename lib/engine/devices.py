"""Several devices, and several training steps in one call."""

from lib.engine.backends import BACKEND, backend
from lib.engine.processes import processes
from lib.files.errors import UserError

STEPS_ON_ACCELERATORS = 8


def steps_per_execution(requested: int | None = None) -> int:
    """Training steps in one call of the compiled function: as requested, or what suits the device.

    A GPU waits for Python between two calls. A processor gains nothing. Raises a UserError if more
    than 1 are requested with PyTorch, where Keras has no such call.

    Args:
        requested: None for 1 on a processor and STEPS_ON_ACCELERATORS elsewhere.
    """
    if BACKEND == "torch" and (requested or 1) > 1:
        raise UserError(
            f"--steps-per-execution {requested}: expected 1 with the backend PyTorch; use "
            "TensorFlow or JAX"
        )
    return requested or (STEPS_ON_ACCELERATORS if backend.has_accelerator() else 1)


def use_devices(count: int) -> None:
    """Spreads each batch of `fit` over `count` devices; to be called before a network is built.

    These are the GPUs. On a machine without GPUs, the processor is split into `count` devices,
    which is not faster. The batch size is that of the global batch, for which batch statistics are
    computed and random numbers are drawn (see `draw`). The results for different numbers of devices
    differ only by rounding.

    Only JAX supports several machines. Each runs one process with the environment variables of
    `keras.distribution.initialize`, and `count` is the number of all their devices. Raises a
    UserError if there are fewer GPUs, the processes do not divide `count`, or the backend cannot do
    it.
    """
    if count % processes():
        raise UserError(
            f"--devices {count}: expected a multiple of the {processes()} processes; count the "
            "devices of all machines"
        )
    names = backend.devices(count)
    if len(names) < count:
        raise UserError(f"--devices {count}: found {len(names)} GPUs; use at most that many")
    backend.distribute(names[:count])
