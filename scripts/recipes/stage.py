# SPDX-License-Identifier: MPL-2.0
"""What the recipes need around them: media, senders, a screen, a microphone."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from checks import WORDS, Failure

RTMP = """
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; pid {0}/nginx.pid; error_log {0}/nginx.log; user root;
events {{ }}
rtmp {{ server {{ listen 127.0.0.1:1935; application live {{
    live on; exec_options on;
    recorder out {{ record all manual; record_path {0}; record_unique on; }}
    recorder all {{ record all; record_path {0}; record_suffix -recorded.flv; }}
}} }} }}
"""

RTSP = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service="8554")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( filesrc location={sys.argv[1]} ! qtdemux name=d "
                   "d.video_0 ! h264parse ! queue ! rtph264pay name=pay0 pt=96 config-interval=-1 "
                   "d.audio_0 ! aacparse ! queue ! rtpmp4gpay name=pay1 pt=97 )")
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
GLib.MainLoop().run()
"""


def environment(scripts):
    """The environment of all recipes: the plugin, and a registry of their own."""
    own = dict(os.environ)
    own["WHISPERNPU_PROFILE"] = own.get("WHISPERNPU_PROFILE", "dev")
    if "GST_PLUGIN_PATH" not in own:
        build = subprocess.run([scripts / "build", own["WHISPERNPU_PROFILE"]], check=True,
                               stdout=subprocess.PIPE, text=True)
        own["GST_PLUGIN_PATH"] = build.stdout.strip()
    own["GST_REGISTRY"] = own["GST_PLUGIN_PATH"] + "/recipes-registry.bin"
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "PULSE_SERVER"):
        own.pop(name, None)
    return own


def launch(pipeline, cwd, own):
    """Runs a pipeline to its end."""
    result = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], cwd=cwd, env=own, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise Failure(f"{pipeline}: {result.stdout}")


def make_media(place, repository, own):
    """film.mp4: a grey picture, and English twice over. rede.ogg: German."""
    data = repository / "tests" / "data"
    english = f"filesrc location={data}/jfk-inaugural.flac ! flacparse ! flacdec ! join."
    launch("mp4mux name=mux ! filesink location=film.mp4 "
           "videotestsrc num-buffers=550 pattern=solid-color foreground-color=0xff808080 "
           "! video/x-raw,format=I420,width=640,height=360,framerate=25/1 "
           "! x264enc tune=zerolatency key-int-max=25 ! h264parse ! mux. "
           "concat name=join ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 "
           f"! avenc_aac ! aacparse ! queue ! mux. {english} {english}", place, own)
    launch(f"filesrc location={data}/simplicissimus-german.flac ! flacparse ! flacdec ! audioconvert "
           "! audioresample ! audio/x-raw,rate=48000 ! opusenc ! oggmux ! filesink location=rede.ogg",
           place, own)


def heard(log):
    """Whether the element has pushed the last words of the speech."""
    return any("pushing Cue" in line and WORDS[-1] in line or f'"{WORDS[-1]}' in line
               for line in log.read_text(errors="replace").splitlines()) if log.exists() else False


def wait(process, enough):
    """Waits for the end of a process, or until there is enough of it. Returns whether it was stopped."""
    seconds = 60 if enough else 400
    limit = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > limit:
            raise Failure(f"not done after {seconds} s")
        if enough and enough():
            # Video is shown later than its text is known.
            time.sleep(5)
            return True
        time.sleep(0.2)
    return False


def photograph(work):
    """Keeps what is on the screen, if there is one."""
    screen = work / "Xvfb_screen0"
    if screen.exists():
        shutil.copy(screen, work / "screen.xwd")


def end(process):
    """Ends a process and its children: Ctrl-C first, as a person would."""
    for number, seconds in ((signal.SIGINT, 15), (signal.SIGKILL, 5)):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass


def wait_for_server(path):
    """Waits until a server takes connections at a socket."""
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
                return
            except OSError:
                time.sleep(0.1)
    raise Failure(f"no server at {path}")


class Stage:
    """Starts what a recipe's text names, and ends it again."""

    def __init__(self, text, work, own):
        self.text, self.work, self.own = text, work, own
        self.environment, self.running = {}, []

    def __enter__(self):
        try:
            if "autovideosink" in self.text:
                self.open_screen()
            if "autoaudiosrc" in self.text:
                self.plug_in_microphone()
            if "srtsrc" in self.text:
                self.send("mpegtsmux name=mux alignment=7 ! srtsink uri=srt://127.0.0.1:7001?mode=listener", "")
            if "rtspsrc" in self.text:
                self.start("/usr/bin/python3", "-c", RTSP, str(self.work / "film.mp4"))
            if "rtmp2src" in self.text:
                self.serve_rtmp()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            end(process)

    def start(self, *command, **own):
        """Starts a program in the background, and gives it a second."""
        with (self.work / "stage.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.work, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, start_new_session=True, env=self.own | own)
        self.running.append(process)
        time.sleep(1)
        if process.poll() is not None:
            raise Failure(f"{command[0]}: {(self.work / 'stage.log').read_text()[-300:]}")

    def send(self, sink, suffix):
        """Sends the film in real time."""
        pipeline = (f"{sink} filesrc location=film.mp4 ! qtdemux name=demux "
                    "demux.video_0 ! h264parse config-interval=-1 ! identity sync=true ! queue ! mux. "
                    "demux.audio_0 ! aacparse ! identity sync=true ! queue ! mux." + suffix)
        self.start("gst-launch-1.0", "-q", *pipeline.split())

    def serve_rtmp(self):
        """A server that records what comes, and a sender to it."""
        configuration = self.work / "nginx.conf"
        configuration.write_text(RTMP.format(self.work))
        self.start("/usr/sbin/nginx", "-c", str(configuration))
        self.send("flvmux name=mux streamable=true ! rtmp2sink location=rtmp://127.0.0.1/live/in", "")

    def open_screen(self):
        """A screen whose picture is a file that checks can read."""
        number = next(n for n in range(90, 120) if not Path(f"/tmp/.X{n}-lock").exists())
        self.start("Xvfb", f":{number}", "-screen", "0", "640x480x24", "-noreset",
                   "-fbdir", str(self.work))
        wait_for_server(f"/tmp/.X11-unix/X{number}")
        self.environment["DISPLAY"] = f":{number}"

    def plug_in_microphone(self):
        """A sound server whose microphone is the film's sound, in real time."""
        home = {"HOME": str(self.work), "XDG_RUNTIME_DIR": str(self.work)}
        self.start("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
                   "-L", f"module-pipe-source file={self.work}/fifo format=s16le rate=48000 channels=1",
                   "-L", f"module-native-protocol-unix auth-anonymous=1 socket={self.work}/socket", **home)
        wait_for_server(f"{self.work}/socket")
        self.environment["PULSE_SERVER"] = f"unix:{self.work}/socket"
        pipeline = ("filesrc location=film.mp4 ! qtdemux ! aacparse ! decodebin ! audioconvert "
                    "! audioresample ! audio/x-raw,format=S16LE,rate=48000,channels=1 "
                    "! filesink location=fifo sync=true buffer-mode=unbuffered")
        self.start("gst-launch-1.0", "-q", *pipeline.split())
