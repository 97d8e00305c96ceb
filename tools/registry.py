"""The listings and their runs. Tables, figures, notebooks and tests take them from registry.csv.

A listing needs one row. Each further published number or set of pictures has a row of its own. The
columns; each but the script may be empty:

    script     name without .py
    run        name of the run in the tables of its chapter
    record     what follows the script in the name of the record, see `measured_and_trained`
    measure    name of the published number
    card       its name in WEIGHTS.md, if it differs
    key        its place in the record; slashes separate the levels
    format     its format in Python
    book       the book's value. A number without one is only in WEIGHTS.md.
    data       training data of the pretrained weights
    files      the weight files, a pattern
    flags      flags that load them
    pictures   what the script then draws; NAME=FIGURE if it differs from the name in figures/
    tiny       flags of a run on a tiny budget

The flags of a row without files only draw its pictures.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib.files.errors import UserError
from lib.run import kinds
from tools.scripts import ROOT
from tools.tables import cells

REGISTRY = ROOT / "tools/registry.csv"
# The value of a flag that chooses chapters.
chapters = kinds.reader(
    lambda text: sorted({int(part) for part in text.split(",")}),
    lambda numbers: set(numbers) <= set(range(1, 11)),
    "numbers of chapters, 1 to 10, separated by commas",
)


@dataclass(frozen=True)
class Row:
    """A row of the registry, see above."""

    script: str
    run: str
    record: str
    measure: str
    card: str
    key: str
    format: str
    book: str
    data: str
    files: str
    flags: str
    pictures: str
    tiny: str

    @property
    def chapter(self) -> int:
        """The chapter that the number of the listing begins with."""
        return chapter_of(self.script)

    @property
    def path(self) -> str:
        """The path of the script, relative to the root."""
        return path_of(self.script)

    @property
    def record_name(self) -> str:
        """The name of the record, or of the pair of records, see `measured_and_trained`."""
        return self.script + self.record

    @property
    def command(self) -> str:
        """The script with the flags."""
        return f"{self.script}.py {self.flags}".strip()

    @property
    def name(self) -> str:
        """The name of the pretrained weights: that of the files without an ending."""
        return re.split(r"[-_]\*|\.", self.files)[0]

    def figures(self) -> dict[str, str]:
        """Returns {picture that the command draws: figure}."""
        pairs = [picture.partition("=") for picture in self.pictures.split()]
        return {drawn: figure or drawn for drawn, _, figure in pairs}

    def value(self) -> str:
        """The published number as text."""
        found, _ = cells.measured_and_trained(self.record_name)
        try:
            return cells.cell(found, self.key, self.format)
        except UserError as error:
            raise UserError(f"tools/{REGISTRY.name}, {self.script}: {error}") from None


def chapter_of(script: str) -> int:
    """The chapter that the number of a listing begins with."""
    return int(script.rpartition("-")[2].partition(".")[0])


def path_of(script: str) -> str:
    """The path of a script, relative to the root."""
    (folder,) = ROOT.glob(f"chapter{chapter_of(script)}-*")
    return f"{folder.name}/{script}.py"


def rows(chapter: int | None = None, script: str = "") -> list[Row]:
    """The rows of the registry, of all or of one chapter or script."""
    with REGISTRY.open(newline="") as file:
        found = [Row(**row) for row in csv.DictReader(file)]
    return [row for row in found if chapter in (None, row.chapter) and script in ("", row.script)]


def published(chapter: int | None = None, script: str = "") -> list[Row]:
    """The rows with a number that the README and the last lines of a run show."""
    return [row for row in rows(chapter, script) if row.key and row.book]


def pretrained(chapter: int | None = None, script: str = "") -> list[Row]:
    """The rows with weight files."""
    return [row for row in rows(chapter, script) if row.files]


def runs(chapters: Sequence[int]) -> dict[str, Row]:
    """The rows of these chapters that have a name in the tables, by that name."""
    return {row.run: row for row in rows() if row.run and row.chapter in chapters}


def tiny() -> list[str]:
    """The commands that run each listing on a tiny budget, with the path of the script."""
    found: dict[str, list[str]] = {}
    for row in rows():
        found.setdefault(row.path, []).extend([row.tiny] if row.tiny else [])
    return [f"{path} {flags}".strip() for path, all_ in found.items() for flags in all_ or [""]]


def omissions() -> list[str]:
    """What the registry lacks or has too much, each with what to do."""
    listed, found = rows(), []
    scripts = {path.stem: path for path in ROOT.glob("chapter*/*.py")}
    for name in sorted(scripts.keys() - {row.script for row in listed}):
        found.append(f"{name}.py has no row; add to tools/{REGISTRY.name}: {_line(name, listed)}")
    for row in listed:
        if row.script not in scripts:
            found.append(f"no script {row.path}; remove its row from tools/{REGISTRY.name}")
        elif row.files and not [*(ROOT / row.path).parent.glob(f"weights/{row.files}")]:
            found.append(
                f"no weights '{row.files}' of {row.script}; train them, or leave out files and "
                f"flags in tools/{REGISTRY.name}"
            )
    for path in sorted(ROOT.glob("chapter*/weights/*")):
        if not any(
            ROOT / row.path == path.parents[1] / f"{row.script}.py"
            and (path.match(row.files) or path.name in re.split("[ =]", row.flags))
            for row in listed
            if row.files
        ):
            found.append(
                f"{path.parent.parent.name}/weights/{path.name} is in no row; write it into the "
                f"columns files and flags of tools/{REGISTRY.name}"
            )
    return found


def _line(name: str, listed: list[Row]) -> str:
    """A row for a script without weights, made from the listing before it."""
    new = Row(name, *[""] * 12)
    before = [row for row in listed if row.chapter == new.chapter and row.tiny]
    like = before[-1] if before else new
    run, record = (
        name.partition("-")[0].upper() if like.run else "",
        "-" if like.record.endswith("-") else "",
    )
    line = [name, run, record, like.measure, "", like.key, like.format, like.book]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([*line, "", "", "", "", like.tiny])
    return text.getvalue()
