"""Every error of the core on one page.

    CellwallError
    ├── Refused       it did not happen and will not: the caller's input is wrong
    ├── Unavailable   it did not happen, it may on another try
    └── Unknown       it may or may not have happened (a time-out is unknown, never a failure)

Foreign errors are translated at one border per package; nothing outside this tree crosses it (I9).
"""


class CellwallError(Exception):
    """Base of all errors raised on purpose."""


class Refused(CellwallError):
    """The request is wrong: names the field, the value and what would be right."""


class Unavailable(CellwallError):
    """Nothing happened; trying again may succeed."""


class Unknown(CellwallError):
    """The outcome is not known: it may have happened."""
