"""Prints what a library's bindings have, as JSON: `python surface.py MODULE`."""

import importlib
import json
import sys


def surface(module: str) -> dict[str, list[str]]:
    library = importlib.import_module(module)
    found = {name: getattr(library, name) for name in dir(library)}
    classes = {name: dir(value) for name, value in found.items() if isinstance(value, type)}
    return {"": sorted(found), **classes}


if __name__ == "__main__":
    json.dump(surface(sys.argv[1]), sys.stdout)
