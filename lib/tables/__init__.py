"""The tables of measured numbers on the pages, each made whole from the records in results/.

A page marks the place of a table with two lines:

    <!-- table gans-10000 -->
    <!-- end of table -->

`python3 -m lib.readme` writes the table of that name between them.
"""

from collections.abc import Callable

from lib.tables import (
    agents,
    autoencoders,
    cards,
    classifiers,
    figures,
    gans,
    overview,
    speed,
    translation,
    vaes,
)

TABLES: dict[str, Callable[[], str]] = {}
for module in (
    overview,
    figures,
    classifiers,
    autoencoders,
    gans,
    translation,
    vaes,
    agents,
    speed,
    cards,
):
    TABLES |= module.TABLES
