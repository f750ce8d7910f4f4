"""Modules of PyPI that a comparison needs."""

import importlib
import sys


def needed(**packages):
    """The modules by these names, each of its package; or an exit that names what is missing."""
    modules, missing = [], []
    for module, package in packages.items():
        try:
            modules.append(importlib.import_module(module))
        except ImportError as error:
            missing.append(f"{package} ({error})")
    if missing:
        sys.exit("missing: " + ", ".join(missing) + "; python3 -m pip install " + " ".join(packages.values()))
    return modules
