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

    def named(found: re.Match[str]) -> str:
        return whole(bare[found[1]]) if found[1] in bare else found[0]

    def whole(text: str) -> str:
        return re.sub(r"\{(\w+)\}", named, text)

    return {name: whole(text) for name, text in bare.items()}


SQL = _read_all()
