"""The processes of a run on several machines; each machine runs one process."""

import os


def processes() -> int:
    """Number of processes that train together."""
    return int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", 1))


def process() -> int:
    """Number of this process, from 0; only process 0 writes files that stay."""
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0)) if processes() > 1 else 0
