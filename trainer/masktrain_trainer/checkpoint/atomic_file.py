"""Files that a reader sees whole or not at all."""

from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write beside the file, then rename over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(text)
    unfinished.replace(path)
