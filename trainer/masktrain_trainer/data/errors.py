"""The one error that bad data raises: always a sentence for the person who made the data set."""


class InvalidDataset(Exception):
    """`str()` says in one sentence what is wrong with the data set, where, and what to do. Trying again cannot help."""
