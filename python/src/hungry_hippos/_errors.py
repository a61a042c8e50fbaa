"""What can go wrong, as exceptions."""


class HipposError(Exception):
    """A request that could not be carried out; the message names what was wrong and what was expected."""


class BinaryNotFound(HipposError):
    """The command ``hippos`` is not where the wheel puts it, nor on the path."""


class ArrayError(HipposError, TypeError):
    """An array that cannot be written down: its type, device or layout."""


class UnknownName(HipposError, KeyError):
    """A name that is none of a stage, a case or a tensor."""

    def __str__(self) -> str:  # A KeyError would print the message in quotes.
        return str(self.args[0])
