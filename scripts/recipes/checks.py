# SPDX-License-Identifier: MPL-2.0
"""What each recipe of docs/recipes.md has to write, show or hand on."""

import json
import re
import struct
import subprocess

WORDS = ("fellow", "Americans", "country")
GERMAN = ("Hans", "Simpli")


class Failure(Exception):
    """What is wrong with a recipe."""


def need(condition, complaint):
    if not condition:
        raise Failure(complaint)


def speaks(text, words=WORDS):
    """Whether all words are in the text."""
    for word in words:
        need(word in text, f"{word!r} is not in: {text[-400:]}")


def read(path):
    need(path.exists(), f"there is no {path.name}")
    return path.read_text()


def printed(_work, said, _props):
    speaks(said)


def printed_live(_work, said, _props):
    """The first words may have been said before the microphone was open."""
    speaks(said, WORDS[-1:])


def subrip(work, said, _props):
    """Either of the two files, and progress."""
    name = "film.srt" if (work / "film.srt").exists() else "film.vtt"
    speaks(read(work / name))
    need(" --> " in read(work / name), "no times")
    need("seconds" in said, f"no progress: {said}")


def json_lines(_work, said, _props):
    cues = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    speaks(" ".join(cue["text"] for cue in cues))
    need(all(cue["words"] for cue in cues), "cues without words")


def each_word(_work, said, _props):
    need(said.count(" --> ") >= 40, "fewer cues than words")
    speaks(said)


def german_or_english(_work, said, _props):
    need(" --> " in said, said)
    speaks(said, GERMAN[:1])


def many_files(work, _said, _props):
    speaks(read(work / "film.srt"))


def track(name):
    """A file with the words as text within it."""
    def check(work, _said, _props):
        content = (work / name).read_bytes()
        speaks(content.decode("latin-1"))
    return check


def frames(path):
    """The picture of a media file, small and grey, twice a second."""
    raw = path.with_suffix(".grey")
    pipeline = (f"filesrc location={path} ! decodebin ! videoconvert ! videoscale ! videorate "
                f"! video/x-raw,format=GRAY8,width=320,height=180,framerate=2/1 ! filesink location={raw}")
    subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], check=False, stderr=subprocess.DEVNULL)
    content = raw.read_bytes() if raw.exists() else b""
    return [content[at:at + 320 * 180] for at in range(0, len(content), 320 * 180)]


def has_caption(frame):
    """Whether the grey picture has a dark box with light letters in its lower third."""
    lower = frame[len(frame) * 2 // 3:]
    return sum(level < 70 for level in lower) > 500 and sum(level > 170 for level in lower) > 50


def burned(path):
    pictures = frames(path)
    need(any(map(has_caption, pictures)), f"no caption in the {len(pictures)} pictures of {path.name}")


def burned_file(work, said, _props):
    burned(work / "burned.mp4")
    need(not has_caption(frames(work / "film.mp4")[10]), "a caption in the film itself")
    need("seconds" in said, f"no progress: {said}")


def screen(path):
    """The grey levels of a screen: an XWD file, whose header names its sizes."""
    content = path.read_bytes()
    header = struct.unpack(">25I", content[:100])
    start, width, height, line, colours = header[0], header[4], header[5], header[12], header[19]
    pixels = content[start + 12 * colours:]
    return b"".join(pixels[y * line:y * line + 4 * width:4] for y in range(height))


def window(work, _said, _props):
    """The window has a caption."""
    need(has_caption(screen(work / "screen.xwd")[:640 * 360]), "no caption in the window")


def camera(work, _said, _props):
    """There is a window. The test picture in place of a camera is too colourful to tell a caption."""
    need(any(screen(work / "screen.xwd")), "the screen is black")


def hls(work, _said, _props):
    playlist = read(work / "live.m3u8")
    segments = re.findall(r"^live\d+\.ts$", playlist, flags=re.M)
    need(segments, "the playlist names no segments")
    joined = work / "joined.ts"
    joined.write_bytes(b"".join(path.read_bytes() for path in sorted(work.glob("live0*.ts"))))
    burned(joined)


def rtmp(work, _said, _props):
    files = sorted(work.glob("out*.flv"))
    need(files, "nothing arrived at the server")
    burned(files[0])


def demo(_work, said, _props):
    speaks(said)


CHECKS = {
    "Before you begin": lambda _work, said, _props: need("Whisper speech recogniser" in said, said),
    "SubRip, WebVTT": subrip,
    "Plain text": printed,
    "JSON lines": json_lines,
    "One buffer a word": each_word,
    "Another language, and its translation to English": german_or_english,
    "Names to expect": printed,
    "A model from a path": printed,
    "Stereo of opposite phase": printed,
    "Many files": many_files,
    "One core only": printed,
    "A subtitle track in MP4": track("subtitled.mp4"),
    "A subtitle track in Matroska": track("subtitled.mkv"),
    "Burned into the video": burned_file,
    "Live": demo,
    "Camera and microphone to a window": camera,
    "Microphone to the terminal": printed_live,
    "From RTSP to a window": window,
    "From SRT to a window": window,
    "From SRT to a Matroska file with a text track": track("recording.mkv"),
    "From SRT to live HLS, text burned in": hls,
    "From RTMP to RTMP, text burned in": rtmp,
    "A preview of what may come next": printed,
}
