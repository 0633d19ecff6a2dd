"""Opens untrusted files with FFmpeg's demuxers for formats that are a single plain file.

Excluded are formats that open other files or sockets (hls, dash, concat, sdp, rtsp, imf, image2,
and the like), devices, formats without sound, and raw samples, which have no header.
"""

from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError

from vibevoice_core.errors import undecodable

DEMUXERS = ",".join(
    """
    3dostr 3g2 3gp 4xm aa aac aax ac3 ac4 ace acm act adf ads adx aea afc aiff aix alp amr amrnb
    amrwb apac apc ape apm aptx aptx_hd argo_asf argo_brp argo_cvg asf asf_o ast au avi avr avs
    bethsoftvid bfi bfstm bink binka bit bmv boa bonk brstm c93 caf cdxl codec2 daud dcstr derf
    dfpwm dhav dsf dsicin dss dts dtshd dv dxa ea ea_cdata eac3 epaf film_cpk flac flv fsb fwse
    g722 g723_1 g728 g729 genh gxf hca hcom hxvs idcin iff ilbc ircam iss ivr jv kux kvag laf
    lc3 live_flv loas lvf lxf matroska mlp mm mmf mods moflex mov mp3 mp4 mpc mpc8 mpeg mpegts
    msf msnwctcp msp mtaf mtv musx mv mxf mxg nc nistsphere nsp nsv nut nuv ogg oma osq oss paf
    pmp pp_bnk psxstr pva pvf qcp qoa redspark rka rl2 rm roq rpl rsd rso s337m sbc scd sdns sds
    sdx shn siff smjpeg smk smush sol sox spdif svag svs swf tak thp tiertexseq truehd tta ty
    usm vag vividas vivo vmd voc vpk vqf vvc w64 wady wav wavarc wc3movie webm wsaud wsd wsvqa
    wtv wv wve xa xmd xmv xvag xwma yop
    """.split()
)
_OPTIONS = {
    "format_whitelist": DEMUXERS,
    "protocol_whitelist": "pipe",
}
# By default, FFmpeg searches every WAV file for DTS, which takes 8 to 26 ms, and splits it into
# packets of 43 to 85 ms, each of which takes time here.
_WAV_OPTIONS = {**_OPTIONS, "max_probe_packets": "1", "max_size": "32768"}


def open_container(source: BinaryIO) -> InputContainer:
    """Open `source`, a seekable file. Raises DecodeError if no demuxer recognizes it."""
    source.seek(0)
    start = source.read(12)
    source.seek(0)
    is_wav = start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE"
    try:
        return av.open(
            source,
            "r",
            options=_WAV_OPTIONS if is_wav else _OPTIONS,
            metadata_errors="replace",
        )
    except (FFmpegError, ValueError) as error:
        raise undecodable() from error
