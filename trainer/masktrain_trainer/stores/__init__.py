"""Object stores: one behaviour over buckets and folders."""

from .base import ObjectInfo, Store
from .opening import open_object, open_store, shown_place

__all__ = ["ObjectInfo", "Store", "open_object", "open_store", "shown_place"]
