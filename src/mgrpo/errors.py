"""The one exception for a mistake that the user can mend."""


class UserError(ValueError):
    """A user's mistake, told in one sentence that names the value, the place and the mend.

    The command line prints the sentence alone and exits with code 2; no traceback.
    """
