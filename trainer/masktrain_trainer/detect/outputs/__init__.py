"""Where results go: pictures, videos, labels, crops; a module each, one interface."""
