"""An RTSP server of GStreamer's with a test picture, for the system's Python, which has its bindings.

Called with the pipeline's size as WIDTHxHEIGHT, the port (0: the kernel's), a codec, vp8 or jpeg, and perhaps the user
and password that it asks for; prints the port and serves rtsp://127.0.0.1:PORT/door until it is killed.
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


def ask_for_login(server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, login: list[str]) -> None:
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for right in ("access", "construct"):
        permissions.add_permission_for_role("viewer", f"media.factory.{right}", True)
    factory.set_permissions(permissions)


def main(size: str, port: str, codec: str, *login: str) -> None:
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
    if login:
        ask_for_login(server, factory, list(login))
    server.get_mount_points().add_factory("/door", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
