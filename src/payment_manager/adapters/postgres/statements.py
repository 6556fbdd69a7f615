"""The SQL of this adapter, read once from its `.sql` files.

How to think about it: a statement is found by its file's name, here and in a stack trace. A file
may name another in braces, `{order_columns}`: that text is put in its place, so a list of columns
is written once.
"""

import re
from importlib.resources import files


def _read_all() -> dict[str, str]:
    folder = files(__package__) / "sql"
    raw = {
        entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    }
    # Comments are for the reader of the file; on the wire they would only cost parsing.
    bare = {name: re.sub(r"(?m)^--.*\n", "", text).strip() for name, text in raw.items()}
    return {
        name: re.sub(r"\{(\w+)\}", lambda found: bare.get(found[1], found[0]), text)
        for name, text in bare.items()
    }


SQL = _read_all()
