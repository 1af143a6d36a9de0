"""The errors a user can cure."""


class InputError(ValueError):
    """Something given to cinevox (a file, a parameter, a name) is unusable.

    The message names the thing, what was found, what was expected and the cure. Stages print it alone;
    any other exception is a defect of the program and keeps its traceback.
    """


class FileError(InputError):
    """A file is missing, broken, hostile or of the wrong shape; the message names it and the cure."""
