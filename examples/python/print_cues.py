#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Prints the speech of a media file, one timed cue a line.

    python3 print_cues.py MEDIA_FILE [MODEL]

Needs PyGObject and GStreamer's introspection data; on Debian the packages
python3-gi, gir1.2-gstreamer-1.0 and gir1.2-gst-plugins-base-1.0.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import GLib, Gst, GstApp  # noqa: E402, F401 (GstApp: the methods of appsink)

PIPELINE = (
    "filesrc name=source ! decodebin ! audioconvert ! audioresample"
    " ! whispernpu name=recogniser"
    " ! appsink name=cues sync=false emit-signals=true caps=text/x-raw,format=utf8"
)


def clock(time):
    """Nanoseconds as h:mm:ss.mmm."""
    ms = time // Gst.MSECOND
    return f"{ms // 3_600_000}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def on_new_sample(sink):
    """Called from a streaming thread: with a window, hand the text over by GLib.idle_add here."""
    sample = sink.pull_sample()
    if sample is None:
        return Gst.FlowReturn.EOS
    buffer = sample.get_buffer()
    # The segment says which place in the file a buffer's time stamp means.
    start = sample.get_segment().to_stream_time(Gst.Format.TIME, buffer.pts)
    if Gst.CLOCK_TIME_NONE in (start, buffer.duration):
        return Gst.FlowReturn.ERROR
    text = buffer.extract_dup(0, buffer.get_size()).decode().replace("\n", " ")
    print(f"[{clock(start)} --> {clock(start + buffer.duration)}] {text}", flush=True)
    return Gst.FlowReturn.OK


def play(pipeline):
    """Plays to the end of the file or to the first error, which it returns."""
    loop = GLib.MainLoop()
    errors = []

    def on_message(_bus, message):
        if message.type == Gst.MessageType.ERROR:
            error, debug = message.parse_error()
            errors.append(f"{error.message} ({debug})")
            loop.quit()
        elif message.type == Gst.MessageType.WARNING:
            warning, _debug = message.parse_warning()
            print(f"warning: {warning.message}", file=sys.stderr)
        elif message.type == Gst.MessageType.EOS:
            loop.quit()

    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", on_message)
    try:
        # A failed state change has its reason on the bus, so the loop reports it.
        pipeline.set_state(Gst.State.PLAYING)
        loop.run()
    finally:
        pipeline.set_state(Gst.State.NULL)
        bus.remove_signal_watch()
    return errors[0] if errors else None


def main():
    if len(sys.argv) not in (2, 3):
        return f"usage: {sys.argv[0]} MEDIA_FILE [MODEL]"

    Gst.init(None)
    try:
        pipeline = Gst.parse_launch_full(PIPELINE, None, Gst.ParseFlags.FATAL_ERRORS)
    except GLib.Error as error:
        return error.message
    pipeline.get_by_name("source").set_property("location", sys.argv[1])
    if len(sys.argv) == 3:
        pipeline.get_by_name("recogniser").set_property("model", sys.argv[2])
    pipeline.get_by_name("cues").connect("new-sample", on_new_sample)
    return play(pipeline)


if __name__ == "__main__":
    sys.exit(main())
