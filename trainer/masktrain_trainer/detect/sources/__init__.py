"""Where frames come from: pictures, videos, live streams, the screen; a module each, one interface."""
