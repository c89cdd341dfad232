"""Why a file of weights is not taken."""


class UnusableWeights(ValueError):
    """`str()` is the rest of a sentence that begins with the file's name: what it is, and what to do instead."""
