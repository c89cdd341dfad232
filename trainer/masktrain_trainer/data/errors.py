"""The one error that bad data raises: always a sentence for the person who made the data set."""


class InvalidDataset(Exception):  # noqa: N818 - the name is the reason that users read in the job's condition
    """`str()` says in one sentence what is wrong with the data set, where, and what to do. Trying again cannot help."""
