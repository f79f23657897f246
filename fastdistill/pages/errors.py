"""The error of what a user named, which the command line reports in one line."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user named cannot be used: a folder, a file, a column; the message says what to do."""
