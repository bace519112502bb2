"""The one exception that means: the user's input is wrong, not the program."""


class InputError(ValueError):
    """Wrong input: a file, a table, a setting. The command line answers with one line and exit code
    2.

    The message names the item, the value found, what was expected and the way out.
    """
