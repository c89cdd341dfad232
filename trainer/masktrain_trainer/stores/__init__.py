"""Object stores: one behaviour over buckets and folders."""

from .base import ObjectInfo, Store
from .opening import lines_while, open_object, open_store, shown_place

__all__ = ["ObjectInfo", "Store", "lines_while", "open_object", "open_store", "shown_place"]
