"""Errors that the command line turns into one sentence."""


class UserError(ValueError):
    """A mistake in an option, a file or an argument, told in one sentence.

    The sentence names the option, the value given, and what would be right. The command line prints it
    without a traceback and exits with a code that is not 0.
    """


class LockLostError(Exception):
    """Another process took over the run, because this one had shown no sign of life for too long."""
