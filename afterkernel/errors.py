"""The one error a user's mistake raises."""


class UserError(ValueError):
    """A mistake in an option, a file or an argument, told in one sentence.

    The sentence names the option, the value given, and what would be right. The command line prints it
    without a traceback and exits with a code that is not 0.
    """
