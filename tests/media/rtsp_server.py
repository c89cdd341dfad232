"""An RTSP server of GStreamer's with a test picture, for the system's Python, which has its bindings.

Called with the pipeline's size as WIDTHxHEIGHT, the port (0: the kernel's), and a codec, vp8 or jpeg; prints the port
and serves rtsp://127.0.0.1:PORT/door until it is killed.
"""

import sys

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found] # noqa: E402

PAYLOADS = {
    "vp8": "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=5 ! rtpvp8pay name=pay0 pt=96",
    "jpeg": "video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0 pt=26",
}


def main(size: str, port: str, codec: str) -> None:
    width, height = size.split("x")
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=solid-color foreground-color=0xffff0000"
        f" ! video/x-raw,width={width},height={height},framerate=25/1 ! videoconvert ! {PAYLOADS[codec]} )"
    )
    factory.set_shared(True)
    server.get_mount_points().add_factory("/door", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
