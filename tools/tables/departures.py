"""The departures from the printed listings, as the docstrings of the scripts number them."""

import ast
import re

from tools import registry
from tools.tables.cells import RESULTS

ROOT = RESULTS.parent
ITEM = re.compile(r"^ ?\d+\. ", re.MULTILINE)


def departures() -> str:
    """A list for each script that has some."""
    parts = []
    for script in dict.fromkeys(row.script for row in registry.rows()):
        path = registry.path_of(script)
        doc = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
        # A heading that begins with "Departures", and numbered items up to an empty line.
        text = doc.partition("\nDepartures")[2].split("\n\n")[0]
        heading, *items = ITEM.split(text)
        if text:
            note = " ".join(heading.split()).removeprefix("from the printed listing").strip(": ;.")
            numbers = [match[0].strip() for match in ITEM.finditer(text)]
            listed = [f"{n} {' '.join(i.split())}" for n, i in zip(numbers, items, strict=True)]
            title = f"**[{script}]({path})**" + (f" ({note})" if note else "")
            parts.append("\n".join([title, "", *listed]).strip() + "\n")
    return "\n".join(parts)


TABLES = {"departures": departures}
