"""Whether a watch of one folder reaches another one below it: git's rules or an exclude may stand between them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from waitbus.sources import gitignore_files
from waitbus.sources.fs_globs import Globs
from waitbus.sources.fs_tree import Folder, Tree, joined


def reaches(watched: str, folder: str, *, exclude: Iterable[str] = (), gitignore: bool = True) -> bool:
    """Whether who watches the one folder looks into the other, below it; both absolute, without links.

    Raises:
      InvalidValue: a glob is none.
    """
    tree, path = Tree(watched, Globs.parse((), exclude)), ""
    scope = gitignore_files.scope_around(watched) if gitignore else None
    for name in os.path.relpath(folder, watched).split(os.sep):
        place = tree.absolute(path)
        if gitignore:
            repository = gitignore_files.repository_at(place)
            scope = gitignore_files.scope_of(place, os.path.basename(place), scope, repository)
        if not tree.takes_folder(Folder(path, scope=scope), name):
            return False
        path = joined(path, name)
    return True
