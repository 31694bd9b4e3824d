"""The errors and warnings of the package."""


class UserError(ValueError):
    """A mistake in an option, a file or an argument, with one sentence that explains it.

    The sentence names the option, the value given, and what would be right. The command line prints it
    without a traceback and exits with a code that is not 0.
    """


class NotFiniteError(UserError):
    """A network's weights, or the gradients of its outputs, are not finite: its training has diverged."""


class PrecisionWarning(UserWarning):
    """Numbers are computed in another precision than the model's own, or some of them in less than was requested."""


class LockLostError(Exception):
    """Another process took over the run, because this one did not renew its lock for too long."""


class MissingPluginError(UserError):
    """A stored configuration needs a plugin that is not loaded: code is imported only if a user names it."""
